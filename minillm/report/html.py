"""One page of HTML that needs no other file: headings, sentences, tables, pictures, texts side by side.

Everything that comes from outside is escaped. The page follows the reader's choice of light or dark, and is one column
on a phone. Left out: scripts; the page does nothing.
"""

import base64
import os
from collections.abc import Sequence
from html import escape
from pathlib import Path

LOOK = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2126; --quiet: #596068; --line: #d9dde2; --soft: #f3f5f7;
  --link: #1f5fa8; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e6e9ec; --quiet: #a5adb6; --line: #363c44; --soft: #1f242a; --link: #86b9f2; }
}
body { font: 16px/1.5 system-ui, sans-serif; background: var(--paper); color: var(--ink); margin: 2rem auto;
  padding: 0 1rem; }
h1 { line-height: 1.2; } a { color: var(--link); }
"""
STYLESHEET = (
    LOOK
    + """
body { max-width: 60rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { padding: .3rem .8rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
td:last-child:not(.number) { min-width: 14rem; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
blockquote { margin: 2rem 0 1rem; padding-left: 1rem; border-left: .25rem solid var(--line); white-space: pre-wrap; }
figure { margin: 1rem 0; } figcaption { color: var(--quiet); font-size: .9rem; }
img { max-width: 100%; height: auto; background: white; border-radius: .3rem; }
.texts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(16rem, 100%), 1fr)); gap: 1rem; }
.texts > div { background: var(--soft); padding: .8rem 1rem; border-radius: .4rem; }
.texts h3 { margin: 0 0 .3rem; font-size: .95rem; } .texts p { margin: 0; white-space: pre-wrap; }
"""
)


def page(title: str, parts: Sequence[str]) -> str:
    """A whole page of parts that the functions below have made."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLESHEET}</style>\n</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join([*parts, "</body>\n</html>\n"])
    )


def heading(text: str) -> str:
    """The heading of a section."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """A paragraph."""
    return f"<p>{escape(text)}</p>"


def quotation(text: str) -> str:
    """A text that somebody else wrote, with its line breaks."""
    return f"<blockquote>{escape(text)}</blockquote>"


def table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A table; numbers stand on the right."""

    def cell(value) -> str:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return f'<td class="number">{shown(value)}</td>' if number else f"<td>{escape(shown(value))}</td>"

    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "\n".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{body}\n</table></div>'


def shown(value) -> str:
    """A value for people.

    >>> shown(1234567), shown(0.12345), shown(None), shown("word")
    ('1,234,567', '0.123', '', 'word')
    """
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def link(address: str, text: str, after: str = "") -> str:
    """A paragraph that leads to another file, and what is said of it."""
    return f'<p><a href="{escape(address, quote=True)}">{escape(text)}</a>{escape(after)}</p>'


def image(path: str | os.PathLike, caption: str) -> str:
    """A PNG file, put into the page; ValueError when there is none."""
    if not Path(path).exists():
        raise ValueError(f"{path}: there is no such picture")
    data, said = base64.b64encode(Path(path).read_bytes()).decode(), escape(caption)
    picture = f'<img src="data:image/png;base64,{data}" alt="{said}">'
    return f"<figure>{picture}<figcaption>{said}</figcaption></figure>"


def texts(named: dict[str, str]) -> str:
    """Texts side by side, each under its name; below one another where the page is narrow."""
    boxes = "\n".join(f"<div><h3>{escape(name)}</h3><p>{escape(text)}</p></div>" for name, text in named.items())
    return f'<div class="texts">\n{boxes}\n</div>'
