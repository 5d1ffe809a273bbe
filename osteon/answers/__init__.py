"""A film that somebody brings → an answer: which files, what the model answers, in words and in a table."""
