"""Train and use language models: `python train.py COMMAND`, or `python train.py --help`."""

import sys

from minillm.__main__ import start

if __name__ == "__main__":
    sys.exit(start())
