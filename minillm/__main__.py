"""`python -m minillm COMMAND`: what train.py does, from any folder."""

import os
import signal
import sys

INTERRUPTED = 130  # the exit status of a program that Ctrl-C ended, as shells know it


def start() -> int:
    """Run the command line; say which package is missing where one is. Returns: the exit status."""
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:  # importing torch takes seconds, in which it would raise somewhere inside
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        from minillm.cli import main
    except ModuleNotFoundError as error:
        if (error.name or "minillm").startswith("minillm"):
            raise
        said = f"the package {error.name} is not installed: pip install -r requirements.txt brings all that is needed"
        print(f"minillm: {said}", file=sys.stderr)
        return 2
    try:
        if usual is signal.default_int_handler:
            signal.signal(signal.SIGINT, usual)
        return main()
    except KeyboardInterrupt:  # before a command began, or after it ended
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(start())
