"""`python -m minillm COMMAND`: what train.py does, from any folder."""

import sys


def start() -> int:
    """Run the command line; say which package is missing where one is. Returns: the exit status."""
    try:
        from minillm.cli import main
    except ModuleNotFoundError as error:
        if (error.name or "minillm").startswith("minillm"):
            raise
        said = f"the package {error.name} is not installed: pip install -r requirements.txt brings all that is needed"
        print(f"minillm: {said}", file=sys.stderr)
        return 2
    return main()


if __name__ == "__main__":
    sys.exit(start())
