"""Books of Project Gutenberg: the text without header and licence, a paragraph a line.

The files are wrapped by hand at some seventy characters, so a model of them as they stand would learn where lines end.
Left out: credits and notes between the marks, footnotes, pictures.
"""

import re
import sys

OPENING = r"\*\*\* ?START OF (?:THE|THIS) PROJECT GUTENBERG[^*]*\*\*\*[^\n]*\n", r"\*END ?\*? ?THE SMALL PRINT.*\n"
CLOSING = r"\*\*\* ?END OF (?:THE|THIS) PROJECT GUTENBERG", r"End of (?:the |this )?Project Gutenberg"
START, END = (re.compile(f"^(?:{'|'.join(marks)})", re.M | re.I) for marks in (OPENING, CLOSING))
FULL = 0.95  # of the lines are no longer than the width that the book was wrapped at
WRAPPED = 0.75  # of a paragraph's line ends, where the next word had no room; fewer in verse


def book_text(path, text: str, say: bool = True) -> str:
    """A book without what Project Gutenberg put around it and with its lines joined, which is said; else the text."""
    start = START.search(text)
    if start is None:
        return text
    end = END.search(text, start.end())
    book = text[start.end() : end.start() if end else len(text)].strip("\n")
    around = text.count("\n") - book.count("\n")
    if say:
        left_out = f"{around} lines of header and licence are left out, wrapped lines joined"
        print(f"{path}: a book of Project Gutenberg; {left_out}", file=sys.stderr)
    return join_wrapped(book) + "\n"


def join_wrapped(text: str) -> str:
    """Text whose paragraphs of prose stand on a line each; verse, lists and indented lines stay as they are.

    A line was wrapped where the first word of the next had no room.

    >>> text = "It was a cold and\\nlong night, and a\\ndark one.\\n\\nO night\\nSo long\\n\\nIt was, as we said."
    >>> print(join_wrapped(text))
    It was a cold and long night, and a dark one.
    <BLANKLINE>
    O night
    So long
    <BLANKLINE>
    It was, as we said.
    """
    lengths = sorted(len(line.rstrip()) for line in text.split("\n") if line.strip())
    width = lengths[int(FULL * (len(lengths) - 1))] if lengths else 0
    return "".join(_joined(piece, width) for piece in re.split(r"(\n\s*\n)", text))


def _joined(paragraph: str, width: int) -> str:
    lines = [line.rstrip() for line in paragraph.split("\n")]
    breaks = [
        len(line) + 1 + len(after.split()[0]) > width for line, after in zip(lines, lines[1:]) if line and after.strip()
    ]
    if not breaks or sum(breaks) < WRAPPED * len(breaks) or any(line[:1].isspace() for line in lines[1:]):
        return paragraph
    return re.sub(r"(?<!-)\n", " ", "\n".join(lines)).replace("-\n", "-")
