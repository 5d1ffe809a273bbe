import os

# Arrow reads it when it is loaded. Its own allocator keeps some 25 MB more for a table of 8 MB than the system's.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
