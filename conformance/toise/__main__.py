"""`python -m toise` is the command `toise`."""

from toise.cli import main

if __name__ == "__main__":
    main()
