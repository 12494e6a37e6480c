"""One page of HTML that computes: the template, scripts and styles of the folder `page`, with a model's data in them.

The page asks for nothing but itself: no server, no network, no other file. What comes from outside stands in it as JSON
in which "<" is escaped, and is shown as text.
"""

import base64
import json
from html import escape
from pathlib import Path

from minillm.report.html import LOOK

FOLDER = Path(__file__).parent / "page"
ENGINE = ("tokenizer.js", "weights.js", "model.js", "world.js")  # what computes; the others show
VIEWS = ("common.js", "text.js", "encoder.js", "rate.js", "main.js")


def live_page(data: dict, weights: bytes) -> str:
    """A whole page. data: as `cli.page` makes it; weights: of all its runs, one behind the other."""
    scripts = "\n".join(
        f'<script data-name="{name}">\n{(FOLDER / name).read_text(encoding="utf-8")}</script>'
        for name in ENGINE + VIEWS
    )
    parts = {
        "<!--TITLE-->": escape(data["title"]),
        "/*STYLE*/": LOOK + (FOLDER / "page.css").read_text(encoding="utf-8"),
        "/*SCRIPTS*/": scripts,
        "/*DATA*/": json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c"),
        "/*BYTES*/": base64.b64encode(weights).decode(),
    }
    page = (FOLDER / "template.html").read_text(encoding="utf-8")
    begin = []
    for mark in sorted(parts, key=page.index):  # from left to right, so that no part is searched for marks
        before, page = page.split(mark, 1)
        begin += [before, parts[mark]]
    return "".join([*begin, page])
