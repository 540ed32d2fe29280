"""`python -m papyra_flow`: the same as the `papyra-flow` command."""

from papyra_flow.cli.main import main

if __name__ == "__main__":
    main()
