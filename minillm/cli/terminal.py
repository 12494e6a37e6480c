"""What a terminal is shown: characters that it has, no control characters of other people, a quiet end of a pipe.

Labels, file names and what a model writes are other people's text: an escape sequence in them would move the cursor,
or rename the window. Python prints a character that the terminal lacks by an exception, which would end a training.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator

LONGEST_WORD = 300  # characters of a word in a message
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline


def visible(text: str) -> str:
    """A text whose control characters are spelled out.

    >>> visible("a \\x1b[31m red\\tword")
    'a \\\\x1b[31m red\\tword'
    """
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def one_line(message: str) -> str:
    """A message in one line, without control characters, and without the middle of words that nobody would read."""
    words = [word if len(word) <= LONGEST_WORD else f"{word[:40]}…{word[-40:]}" for word in message.split(" ")]
    return visible(" ".join(" ".join(words).splitlines()))


class Screen:
    """Standard output where it is a terminal: what is written becomes `visible`; the rest is the stream's own."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write a text without control characters."""
        return self.stream.write(visible(text))


@contextlib.contextmanager
def careful_output() -> Iterator[None]:
    """For the time of a block, print what the terminal can show, and of the rest its code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is not None and sys.stdout.isatty():
        with contextlib.redirect_stdout(Screen(sys.stdout)):
            yield
    else:
        yield


def lost_output() -> OSError | None:
    """What keeps standard output from being written: a full disk, or nobody who reads on. It then goes nowhere."""
    try:
        if sys.stdout is not None and not sys.stdout.closed:
            sys.stdout.flush()
    except OSError as error:
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())  # or Python complains once more when it ends
        return error
    return None
