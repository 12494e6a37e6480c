"""Encode words without an end in time as their length, to the very ids that tiktoken gives them.

tiktoken keeps the pairs of a word in a heap: n log n of a giant word, in more memory than a processor's cache has; and
of a million blanks its regular expression runs out of stack. So a text is cut within giant words, where that changes
nothing.

Let x be encoded to ids that end with a, y to ids that begin with b, and the bytes of a and b together to a, b. Then xy
has the ids of x, then those of y. For until a merge across the border comes first, the merges of xy are those of x and
of y, and those within a and b come in the order in which they come in the bytes of the two alone. There, then, the same
two would be merged across the border, and they are not. For the same reason the first few ids of a word are those of
their own bytes. So the last ids of a part, which its end may have changed, are dropped, and the next part begins where
they began.
"""

import re
from collections.abc import Iterator
from itertools import chain, pairwise

import tiktoken

from minillm.text.bpe import GPT2_PATTERN, fitting

PART = 1 << 14  # characters
AROUND = 2048  # characters on both sides of a cut that belong to one word
DROPPED = 512  # bytes at the end of a part, at least, that are encoded again
LONGEST_BLANK = 200_000  # characters that tiktoken's regular expression stands
LONG = 1 << 18  # characters of a text that is encoded in parts, and of such a part
# Where no word of GPT-2's pattern goes on: nothing in it has white space but at its front, and nothing looks back.
BORDER = re.compile(r"(?<=[A-Za-z])(?= [A-Za-z])")


class LongWords:
    """tiktoken's encoding of ordinary text, in parts where words are giant. tokens: the bytes of each id."""

    def __init__(self, encoding: tiktoken.Encoding, pattern: str, tokens: dict[int, bytes]) -> None:
        self.encoding, self.pattern, self.tokens = encoding, pattern, tokens

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""
        cuts = self._cuts(text)
        if not cuts:
            return self.encoding.encode_ordinary(text)
        parts = self._parts(text, cuts)
        if not all(parts) or not all(self._stand_apart(one[-1:], other[:1]) for one, other in pairwise(parts)):
            cuts = cuts if has_long_blank(text) else []  # other ids are better than none
            parts = [self.encoding.encode_ordinary(text[a:b]) for a, b in pairwise([0, *cuts, len(text)])]
        return list(chain.from_iterable(parts))

    def texts(self, text: str) -> Iterator[str]:
        """A text in parts, where it is long, whose ids one behind the other are its ids."""
        start = 0
        while self.pattern == GPT2_PATTERN and len(text) - start > 2 * LONG:
            border = BORDER.search(text, start + LONG, start + 2 * LONG)
            if border is None:
                break
            yield text[start : border.start()]
            start = border.start()
        yield text[start:] if start else text

    def _cuts(self, text: str) -> list[int]:
        """Places within giant words, about a part from each other."""
        places = range(PART, len(text) - PART, PART)
        return [at for at in places if self._is_within(text[at - AROUND : at + AROUND])]

    def _is_within(self, text: str) -> bool:
        """Whether the text around a place is of one word, and what begins in it goes on to the end of that word.

        By GPT-2's pattern that is so of all that matches as one word; by others of blanks.
        """
        if self.pattern != GPT2_PATTERN or text.isspace():
            return text.isspace()
        return len(text.split(None, 1)) == 1 and bool(fitting(self.pattern, text).fullmatch(text))

    def _parts(self, text: str, cuts: list[int]) -> list[list[int]]:
        """The ids of a text in parts, each without its last, with which the next begins; an empty one if in vain."""
        parts, start = [], 0
        for cut in cuts:
            part = self.encoding.encode_ordinary(text[start:cut])
            dropped = self._dropped(part)
            length = len(b"".join(dropped).decode(errors="replace"))
            same = text[cut - length : cut].encode() == b"".join(dropped)  # the pattern left nothing out
            parts.append(part[: -len(dropped)] if dropped and same else [])
            start = cut - length
        return [*parts, self.encoding.encode_ordinary(text[start:])]

    def _dropped(self, part: list[int]) -> list[bytes]:
        """The last tokens of a part, so few that they lie within its last word; none where a character is cut."""
        size = 0
        for kept in range(len(part) - 1, 0, -1):
            token = self.tokens[part[kept]]
            size += len(token)
            if size >= AROUND:
                break
            if size >= DROPPED and not 0x80 <= token[0] < 0xC0:  # a byte within a character
                return [self.tokens[i] for i in part[kept:]]
        return []

    def _stand_apart(self, first: list[int], second: list[int]) -> bool:
        """Whether two neighbouring ids are what their bytes are encoded to."""
        both = b"".join(self.tokens[i] for i in first + second)
        return self.encoding._encode_single_piece(both) == first + second


def has_long_blank(text: str) -> bool:
    """Whether a run of white space may be longer than LONGEST_BLANK; true for each that is."""
    part = LONGEST_BLANK // 2  # a longer run fills one of the parts
    return len(text) > LONGEST_BLANK and any(text[i : i + part].isspace() for i in range(0, len(text), part))
