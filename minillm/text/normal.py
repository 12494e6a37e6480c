"""Unicode's normal forms, in time that grows with the length of the text whatever stands in it."""

import re
import unicodedata
from functools import cache
from typing import Literal

from minillm.metrics import combining_marks

Form = Literal["NFC", "NFKC"]
MOST_MARKS = 30  # on one letter, of the Stream-Safe Text Format; no script has as many


# Some of these in a row come before too many marks: a class of three ranges is found a hundred times as fast as one of
# all marks, and ideographs and Hangul, which stand in long rows, have none among them.
MAYBE = re.compile(f"[\u0300-\u3134\ua66f-\uabff\ufb00-\U0010ffff]{{{MOST_MARKS + 1}}}")


@cache
def _too_many_marks() -> re.Pattern:
    marks = f"[{combining_marks()}\uff9e\uff9f]"  # NFKC makes marks of the last two: a test looks for others
    return re.compile(f"({marks}{{{MOST_MARKS}}}){marks}+")


def normalise_unicode(text: str, form: Form = "NFC") -> str:
    """One code for one character. NFKC also turns ﬁ into two letters and ² into a 2.

    Of more than MOST_MARKS marks on one letter the rest go: sorting them takes the square of their number.
    Source: Unicode Standard Annex 15, section 13 (which would put a character between them).

    >>> len("e\\u0301"), len(normalise_unicode("e\\u0301"))
    (2, 1)
    """
    if text.isascii():
        return text
    if MAYBE.search(text):
        text = _too_many_marks().sub(r"\1", text)
    return unicodedata.normalize(form, text)
