"""`python -m components.cli`: the command osteon without `osteon pipeline`."""

from components.cli.main import main

if __name__ == "__main__":
    main()
