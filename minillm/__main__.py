"""`python -m minillm COMMAND`: what train.py does, from any folder."""

import sys

from minillm.cli import main

if __name__ == "__main__":
    sys.exit(main())
