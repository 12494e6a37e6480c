"""What a terminal is shown: characters that it has, no control characters of other people, a quiet end of a pipe.

Labels, file names and what a model writes are other people's text: an escape sequence in them would move the cursor,
or rename the window. Python prints a character that the terminal lacks by an exception, which would end a training.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator

from minillm.system import place_of_process

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


class Output:
    """Standard output, with what kept it from being written; on a terminal what is written becomes `visible`."""

    def __init__(self, stream):
        self.stream, self.lost = stream, None
        self.change = visible if stream.isatty() else str

    def __getattr__(self, name: str):
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write a text, on a terminal without control characters."""
        try:
            return self.stream.write(self.change(text))
        except OSError as error:
            self.lost = error
            raise

    def close_if_lost(self) -> OSError | None:
        """What keeps it from being written: a full disk, or nobody who reads on. Then it goes nowhere from now on."""
        try:
            if not self.stream.closed:
                self.stream.flush()
        except OSError as error:
            self.lost = error
        if self.lost is not None:
            with contextlib.suppress(OSError, ValueError), open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), self.stream.fileno())  # or Python complains once more when it ends
        return self.lost


@contextlib.contextmanager
def only_the_leader_prints() -> Iterator[None]:
    """For the time of a block, let what others of torchrun's processes than the first print go nowhere."""
    if place_of_process()[0] == 0:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


@contextlib.contextmanager
def careful_output() -> Iterator[Output | None]:
    """For the time of a block, print what the terminal can show, and of the rest its code; None without an output."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is None:
        yield None
        return
    with contextlib.redirect_stdout(Output(sys.stdout)) as output:
        yield output
