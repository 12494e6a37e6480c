"""What a tokenizer of other people does to a text before it cuts it into words: `normalizer` of tokenizer.json.

Hugging Face's library knows the characters of Unicode 8 or 9, but the cases of Unicode 17; Python's tables are of other
versions. So what is newer than theirs stays as it is, and pairs of cases that are newer than ours are written out.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import cache

from minillm.text.bpe import class_ranges
from minillm.text.patterns import find, known

Normalize = Callable[[str, bool], str]  # of a text, and whether a space may be put before it

FORMS = ("NFC", "NFD", "NFKC", "NFKD")
NEWER = r"[^\p{Age:9.0}]"  # what their normal forms do not know
MARKS = r"[\p{Mn}&&\p{Age:8.0}]"  # their nonspacing marks, but for these:
MARKS_MORE, MARKS_LESS = "\u1734\U0001171e", "\u1885\u1886\ua9bd\U000111c9"
ALL_MARKS, ALL_MARKS_MORE, ALL_MARKS_LESS = r"[\p{M}&&\p{Age:9.0}]", "\u1cf2\u1cf3", "\U000111c9"
CONTROLS = r"[[\p{Cc}\p{Cf}\p{Co}]&&\p{Age:8.0}]"
PUNCTUATION, PUNCTUATION_MORE = r"[\p{P}&&\p{Age:8.0}]", "\u166d\U000111c9$+<=>^`|~"
WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
IDEOGRAPHS = re.compile(
    "([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f\U0002b920-\U0002ceaf"
    "\U0002f800-\U0002fa1f])"
)
# Upper cases and the distance of their lower ones, of Unicode 14 to 17.
CASES = [(0x1C89, 1), (0xA7CB, 0x264 - 0xA7CB), *((i, 1) for i in (0xA7CC, 0xA7CE, 0xA7D2, 0xA7D4, 0xA7DA))]
CASES += [(0xA7DC, 0x19B - 0xA7DC), *((i, 0x20) for i in range(0x10D50, 0x10D66))]
CASES += [(i, 0x1B) for i in range(0x16EA0, 0x16EB9)]
LOWER = {upper: upper + distance for upper, distance in CASES}


def members(text: str, pattern: str, more: str = "", less: str = "") -> re.Pattern:
    """A class of characters as tiktoken knows it, with some more and some less, for `re`; right for this text."""
    return _members(pattern, more, less, 0x10000 if max(text, default="") < "\U00010000" else 0x110000)


@cache
def _members(pattern: str, more: str, less: str, end: int) -> re.Pattern:
    return re.compile((f"(?![{less}])" if less else "") + f"[{class_ranges(pattern, end)}{more}]")


def normal_form(text: str, form: str) -> str:
    """A normal form as Hugging Face's library knows it; newer characters stay, and nothing moves past them."""
    if unicodedata.is_normalized(form, text):
        return text
    parts = re.split(f"({members(text, NEWER).pattern})", text)
    return "".join(part if i % 2 else unicodedata.normalize(form, part) for i, part in enumerate(parts))


def lower_case(text: str) -> str:
    """Each character by itself in lower case, without regard to its neighbours."""
    if text.isascii():
        return text.lower()
    return "".join([character.lower() for character in text.translate(LOWER)])


def clean_for_bert(text: str) -> str:
    """Without control characters, and with plain spaces as white space."""
    if not text.isascii():
        text = members(text, CONTROLS, "\ufffd").sub(lambda found: found[0] if found[0] in "\t\n\r" else "", text)
        return re.sub(f"[{WHITE_SPACE}]", " ", text)
    return text.translate(ASCII_CLEAN)


ASCII_CLEAN = {**dict.fromkeys([*range(32), 127]), **dict.fromkeys(b"\t\n\r", " ")}


def _without_marks(text: str) -> str:
    return members(text, MARKS, MARKS_MORE, MARKS_LESS).sub("", text)


def _bert(part: dict) -> Normalize:
    clean, ideographs = part.get("clean_text", True), part.get("handle_chinese_chars", True)
    lower, accents = part.get("lowercase", True), part.get("strip_accents")
    accents = lower if accents is None else accents

    def normalize(text: str, begins: bool) -> str:
        text = clean_for_bert(text) if clean else text
        if not text.isascii():
            text = IDEOGRAPHS.sub(r" \1 ", text) if ideographs else text
            text = _without_marks(normal_form(text, "NFD")) if accents else text
        return lower_case(text) if lower else text

    return normalize


def _replace(part: dict) -> Normalize:
    pattern, content = part["pattern"], part["content"]
    if "String" in pattern:
        return lambda text, begins: text.replace(pattern["String"], content)
    regex = known(pattern["Regex"])
    return lambda text, begins: "".join(content if matches else piece for piece, matches in find(regex, text))


def _strip(part: dict) -> Normalize:
    left, right = (WHITE_SPACE if part[side] else "" for side in ("strip_left", "strip_right"))
    return lambda text, begins: text.lstrip(left).rstrip(right)


def _sequence(part: dict) -> Normalize:
    steps = [normalizer(each) for each in part["normalizers"]]

    def normalize(text: str, begins: bool) -> str:
        for step in steps:
            text = step(text, begins)
        return text

    return normalize


def _prepend(part: dict) -> Normalize:
    return lambda text, begins: part["prepend"] + text if text and begins else text


def _form(form: str) -> Callable[[dict], Normalize]:
    return lambda part: lambda text, begins: normal_form(text, form)


NORMALIZERS: dict[str, Callable[[dict], Normalize]] = {
    **{form: _form(form) for form in FORMS},
    "BertNormalizer": _bert,
    "Lowercase": lambda part: lambda text, begins: lower_case(text),
    "Prepend": _prepend,
    "Replace": _replace,
    "Sequence": _sequence,
    "Strip": _strip,
    "StripAccents": lambda part: (
        lambda text, begins: members(text, ALL_MARKS, ALL_MARKS_MORE, ALL_MARKS_LESS).sub("", text)
    ),
}


def normalizer(part: dict | None) -> Normalize:
    """What `normalizer` of a tokenizer.json does to a text.

    Raises: ValueError for a kind that is not known.
    """
    if part is None:
        return lambda text, begins: text
    if part.get("type") not in NORMALIZERS:
        raise ValueError(f"normalizer is of the type {part.get('type')!r}, which is not known")
    return NORMALIZERS[part["type"]](part)
