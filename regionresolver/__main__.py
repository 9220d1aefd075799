"""`python -m regionresolver`: the command line."""

from regionresolver.cli import main

if __name__ == "__main__":
    main(prog_name="regionresolver")
