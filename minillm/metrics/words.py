"""What a word is, in any script: the one place where the library cuts a text into words.

Python's `\\w` has letters and digits, but not the marks that stand on them: vowel signs of Hindi, harakat of Arabic,
accents in their decomposed form. So a word here goes on over marks and over the joiners U+200C and U+200D.
Left out: scripts without spaces, such as Chinese, where a run of letters is one word. What BLEU, ROUGE and SQuAD call a
word is their own affair (`tokenize_13a`, `tokenize_rouge`, `squad_words`).
Source: Unicode Standard Annex 29, rules WB4 (marks belong to what they stand on) and WB3c (joined emoji are one).
"""

import re
import unicodedata
from functools import cache
from itertools import chain

ASCII_WORDS = re.compile(r"(\w+)|[^\w\s]")


@cache
def combining_marks() -> str:
    """Every character that stands on the one before it (Unicode's categories Mn, Mc and Me)."""
    planes = chain(range(0x300, 0x20000), range(0xE0100, 0xE01F0))  # there are none elsewhere: a test looks
    return "".join(c for c in map(chr, planes) if unicodedata.category(c)[0] == "M")


@cache
def _all_words() -> re.Pattern:
    on = f"(?=[^\\x00-\\u02ff])[{combining_marks()}\u200c\u200d"  # the first test is the fast one
    tones = "\U0001f3fb-\U0001f3ff"
    return re.compile(rf"(\w+(?:{on}]+\w*)*)|[^\w\s](?:{on}{tones}]+(?:(?<=\u200d)[^\w\s])?)*")


def _pattern(text: str) -> re.Pattern:
    return ASCII_WORDS if text.isascii() else _all_words()


def words_of(text: str) -> list[str]:
    """The words of a text, without punctuation.

    >>> words_of("Re\\u0301sume\\u0301s: don't!") == ["Re\\u0301sume\\u0301s", "don", "t"]
    True
    """
    return [word for word in _pattern(text).findall(text) if word]


def words_and_marks(text: str) -> list[str]:
    """The words of a text and every other character that is no space, with what stands on it, in order.

    >>> words_and_marks("\\u0926\\u093f\\u0932\\u094d\\u0932\\u0940, 10%")
    ['दिल्ली', ',', '10', '%']
    """
    return [found[0] for found in _pattern(text).finditer(text)]
