"""The regular expressions of other people's tokenizers, which are written for Oniguruma, run by `re` or by tiktoken.

What the three understand alike is let through; `$`, which Oniguruma takes for the end of a line, is written out; the
rest is refused, because it would cut a text elsewhere. Classes of characters are tiktoken's, by way of `bpe`: those of
Oniguruma have the same members. `Digits` asks for Rust's, which has thirteen more.
"""

import re

import tiktoken

from minillm.text.bpe import BYTES, GPT2_PATTERN, compiled_for, fitting

NUMERIC = r"\p{N}" + "\U00011de0-\U00011de9\U00016ff4-\U00016ff6"  # of a class: Rust's char::is_numeric
LINE_END = r"(?![^\n])"  # Oniguruma's `$`: before a line break, or at the end
PIECES = re.compile(r"\\[pP]\{\^?\w+\}|\\.|\(\?(?:i:|[:!=])|\(|\[\^?|[?*+]\+|\{\d*,?\d*\}\+?|.", re.DOTALL)
ESCAPES = set("sSdDrntpP")  # beside those of signs
EMPTY = re.compile(r"(^|[|(])\(\?[!=]|\(\?=")  # may match without taking a character

# Digits one by one or in runs, then GPT-2's pattern in what is between, where a digit ends a text.
_DIGITS = GPT2_PATTERN.replace(r"| ?\p{N}+", "").replace(r"[^\s\p{L}\p{N}]", rf"[^\s\p{{L}}{NUMERIC}]")
DIGITS_THEN_GPT2 = rf"[{NUMERIC}]|" + _DIGITS.replace(r"(?!\S)", rf"(?![^\s{NUMERIC}])")


def known(pattern: str) -> str:
    """The same pattern as `re` and tiktoken read it.

    Raises: ValueError, naming the part, for what they would read differently, or not at all.
    """
    written, bracket = [], ""
    for piece in PIECES.findall(pattern):
        if piece[0] == "\\" and piece[1].isalnum() and piece[1] not in ESCAPES:
            raise ValueError(f"the pattern {pattern!r} has {piece}, which is not known")
        if bracket:
            if piece[0] == "[" or (bracket[-1] == piece[0] and piece[0] in "-&~"):
                raise ValueError(f"the pattern {pattern!r} has {piece} within [...], which is not known")
            bracket = "" if piece == "]" else bracket + piece[-1]
        elif piece[0] == "[":
            bracket = "[" if piece == "[" else "[^"
        elif piece in ("(", "^") or piece.endswith("}+"):
            raise ValueError(f"the pattern {pattern!r} has {piece}, which is not known")
        elif piece == "$":
            piece = LINE_END
        written.append(piece)
    joined = "".join(written)
    try:
        compiled_for(joined, 0x80)
        tiktoken.Encoding("pattern", pat_str=joined, mergeable_ranks=BYTES, special_tokens={})
    except (re.error, ValueError) as error:
        raise ValueError(f"the pattern {pattern!r} is not known ({error})") from None
    return joined


def everything(pattern: str) -> str | None:
    """A pattern that also matches what stands between two matches of `pattern`; None where this cannot be said."""
    return None if EMPTY.search(pattern) else rf"(?:{pattern})|(?:(?!{pattern})[\s\S])+"


def find(pattern: str, text: str) -> list[tuple[str, bool]]:
    """A text in pieces: each match of a known pattern, and each gap between two; whether it is a match."""
    pieces, last = [], 0
    for match in fitting(pattern, text).finditer(text):
        start, stop = match.span()
        if start == stop == last:  # nothing, right behind the one before
            continue
        if last < start:
            pieces.append((text[last:start], False))
        pieces.append((match[0], True))
        last = stop
    return [*pieces, (text[last:], False)] if last < len(text) else pieces


def split(pattern: str, text: str, behavior: str = "Isolated", invert: bool = False) -> list[str]:
    """Cut a text at the matches of a known pattern, or with `invert` at what is between them.

    Args: behavior: what becomes of a match: Isolated, Removed, Contiguous, MergedWithPrevious, MergedWithNext.
    """
    pieces = [(piece, matches != invert) for piece, matches in find(pattern, text)]
    if behavior in ("Isolated", "Removed"):
        return [piece for piece, matches in pieces if piece and (behavior == "Isolated" or not matches)]
    backwards, words, before = behavior == "MergedWithNext", [], False
    for piece, matches in reversed(pieces) if backwards else pieces:
        joins = matches == before if behavior == "Contiguous" else matches and not before
        if joins and words:
            words[-1] = piece + words[-1] if backwards else words[-1] + piece
        else:
            words.append(piece)
        before = matches
    return [word for word in (reversed(words) if backwards else words) if word]
