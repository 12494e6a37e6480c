"""A canvas of one width, on which texts, boxes and arrows are drawn, and which every notebook can show.

Coordinates are those of the picture, whose width is `WIDTH`; y grows downwards, and the height follows from what was
drawn. Shown 340 pixels wide, as on a phone, the smallest text has 10 pixels.

A notebook gets an image with its alternative text. (Readers of notebooks drop scripts, styles and inline SVG from HTML,
but show an image that holds its own data.) Colours stand on every element, for light ground; a style rule changes
them where the reader's system is set to dark. The card behind is part of the picture, so the two always agree.
"""

import base64
import html
import math
from typing import NamedTuple

from minillm.report.diagrams.style import PALETTE, fitted, width_of, wrapped

WIDTH = 400
SHOWN = 560  # pixels, where there is room
MARGIN = 14
FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
MONO = "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
Point = tuple[float, float]


class Box(NamedTuple):
    """A rectangle; `n`, `s`, `w_` and `e` are the middles of its sides, where arrows begin and end."""

    x: float
    y: float
    w: float
    h: float

    @property
    def right(self) -> float:
        return self.x + self.w

    @property
    def bottom(self) -> float:
        return self.y + self.h

    @property
    def cx(self) -> float:
        return self.x + self.w / 2

    @property
    def cy(self) -> float:
        return self.y + self.h / 2

    @property
    def n(self) -> Point:
        return self.cx, self.y

    @property
    def s(self) -> Point:
        return self.cx, self.bottom

    @property
    def w_(self) -> Point:
        return self.x, self.cy

    @property
    def e(self) -> Point:
        return self.right, self.cy


class Text(NamedTuple):
    """A text that was drawn, with its measured box and the names of its colour and its ground."""

    box: Box
    text: str
    ink: str
    ground: str
    size: float
    opaque: bool


class Canvas:
    """A diagram: a title, what was drawn, and an alternative text for those who do not see it.

    Args:
        title: stands above the picture; alt: one or two sentences that say what a sighted person sees.
    """

    def __init__(self, title: str, alt: str):
        self.title, self.alt = title, alt
        self.texts: list[Text] = []
        self.segments: list[tuple[Point, Point]] = []
        self.fills: list[tuple[Box, str]] = []
        self._parts: list[str] = []
        self._used: set[tuple[str, str]] = set()
        self._bottom = 8.0
        for line in wrapped(title, WIDTH - 2 * MARGIN, 14, bold=True):
            self.text(MARGIN, self._bottom + 11, line, 14, "start", bold=True)
        self.y = self._bottom + 10  # the first free line below the title

    @property
    def height(self) -> float:
        return math.ceil(self._bottom + 12)

    def _colour(self, attribute: str, name: str) -> str:
        self._used.add((attribute, name))
        return f'class="{_class(attribute, name)}" {attribute}="{PALETTE[name][0]}"'

    def _grow(self, bottom: float) -> None:
        self._bottom = max(self._bottom, bottom)

    def _ground(self, x: float, y: float) -> str:
        inside = (name for box, name in reversed(self.fills) if box.x <= x <= box.right and box.y <= y <= box.bottom)
        return next(inside, "card")

    def text(
        self, x: float, y: float, text: str, size: float = 12, anchor: str = "middle", *,
        ink: str = "ink", bold: bool = False, mono: bool = False, opaque: bool = False,
    ) -> Box:  # fmt: skip
        """A text, its lines centred on y.

        Args:
            anchor: "start", "middle" or "end": where in the text x is; opaque: hides what is behind it.
        Returns: the measured box of the text.
        """
        lines = text.split("\n")
        top = y - 0.62 * size * (len(lines) - 1)
        boxes = [
            self._line(x, top + 1.24 * size * i, line, size, anchor, ink, bold, mono, opaque)
            for i, line in enumerate(lines)
        ]
        left, wide = min(box.x for box in boxes), max(box.w for box in boxes)
        return Box(left, boxes[0].y, wide, boxes[-1].bottom - boxes[0].y)

    def _line(self, x, y, text, size, anchor, ink, bold, mono, opaque) -> Box:
        wide = width_of(text, size, bold, mono)
        left = x - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
        box = Box(left, y - 0.5 * size, wide, size)
        if opaque:
            self.rect(left - 3, y - 0.62 * size, wide + 6, 1.24 * size, "card", edge=None)
        self.texts.append(Text(box, text, ink, self._ground(left + wide / 2, y), size, opaque))
        look = (' font-weight="bold"' if bold else "") + (f' font-family="{MONO}"' if mono else "")
        length = f' textLength="{wide:.1f}" lengthAdjust="spacingAndGlyphs"' if len(text) > 1 else ""
        place = f'x="{left:.1f}"' if length else f'x="{left + wide / 2:.1f}" text-anchor="middle"'
        self._parts.append(
            f'<text {place} y="{y + 0.36 * size:.1f}" font-size="{size:g}"{look}{length} '
            f"{self._colour('fill', ink)}>{html.escape(text, quote=False)}</text>"
        )
        self._grow(box.bottom)
        return box

    def rect(
        self, x: float, y: float, w: float, h: float, fill: str | None = "plain", *,
        edge: str | None = "edge", dash: bool = False, thick: float = 1, round: float = 4,
    ) -> Box:  # fmt: skip
        """A rectangle; edge None draws no outline, fill None leaves it open."""
        look = self._colour("fill", fill) if fill else 'fill="none"'
        if edge:
            look = _joined(look, f'{self._colour("stroke", edge)} stroke-width="{thick:g}"')
            corners = (x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)
            self.segments += zip(corners, corners[1:])
        if dash:
            look += ' stroke-dasharray="4 3"'
        self._parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="{round:g}" {look}/>')
        if fill:
            self.fills.append((Box(x, y, w, h), fill))
        self._grow(y + h)
        return Box(x, y, w, h)

    def box(
        self, x: float, y: float, w: float, h: float, label: str = "", fill: str = "plain", size: float = 12, *,
        bold: bool = False, mono: bool = False, dash: bool = False, edge: str = "line", thick: float = 1,
    ) -> Box:  # fmt: skip
        """A rectangle with a text in its middle; a line that is too long for it is cut."""
        box = self.rect(x, y, w, h, fill, edge=edge, dash=dash, thick=thick)
        if label:
            lines = [fitted(line, w - 2, size, bold, mono) for line in label.split("\n")]
            self.text(box.cx, box.cy, "\n".join(lines), size, bold=bold, mono=mono)
        return box

    def line(self, *points: Point, ink: str = "line", thick: float = 1.3, dash: bool = False, curve: bool = False):
        """A line through points; curve: one that was sampled, and may pass behind texts."""
        where = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        look = f'fill="none" {self._colour("stroke", ink)} stroke-width="{thick:g}" stroke-linejoin="round"'
        look += ' stroke-dasharray="4 3"' if dash else ""
        self._parts.append(f'<polyline points="{where}" {look}/>')
        if not curve:
            self.segments += zip(points, points[1:])
        self._grow(max(y for _, y in points))

    def arrow(self, *points: Point, ink: str = "line", thick: float = 1.3, dash: bool = False, label: str = ""):
        """An arrow through points, with a label on the middle of its longest part."""
        (x0, y0), (x1, y1) = points[-2:]
        far = math.hypot(x1 - x0, y1 - y0) or 1.0
        dx, dy = (x1 - x0) / far, (y1 - y0) / far
        base = (x1 - 6 * dx, y1 - 6 * dy)
        self.line(*points[:-1], base, ink=ink, thick=thick, dash=dash)
        self.segments.append((base, (x1, y1)))
        corners = ((x1, y1), (base[0] - 3.5 * dy, base[1] + 3.5 * dx), (base[0] + 3.5 * dy, base[1] - 3.5 * dx))
        self.polygon(corners, ink)
        if label:
            (ax, ay), (bx, by) = max(zip(points, points[1:]), key=lambda ends: math.dist(*ends))
            self.text((ax + bx) / 2, (ay + by) / 2, label, ink="muted", opaque=True)

    def polygon(self, points: tuple[Point, ...], fill: str) -> None:
        """A filled shape without an outline."""
        where = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polygon points="{where}" {self._colour("fill", fill)}/>')
        self._grow(max(y for _, y in points))

    def dot(self, x: float, y: float, radius: float = 4, fill: str = "blue line") -> None:
        """A filled circle."""
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" {self._colour("fill", fill)}/>')
        self._grow(y + radius)

    def note(self, text: str, size: float = 12) -> None:
        """A sentence below all that was drawn so far: what to see in it."""
        top = self._bottom + 11
        lines = wrapped(text, WIDTH - 2 * MARGIN, size)
        for index, line in enumerate(lines):
            self.text(MARGIN, top + size * (0.6 + 1.3 * index), line, size, "start", ink="muted")
        self.y = self._bottom + 8

    def svg(self) -> str:
        """The picture as an SVG document."""
        dark = "".join(f".{_class(what, name)}{{{what}:{PALETTE[name][1]}}}" for what, name in sorted(self._used))
        dark += f".d-card{{fill:{PALETTE['card'][1]};stroke:{PALETTE['edge'][1]}}}"
        high, (fill, edge) = self.height, (PALETTE["card"][0], PALETTE["edge"][0])
        title, alt = html.escape(self.title), html.escape(self.alt)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {high}" width="{SHOWN}" '
            f'height="{round(high * SHOWN / WIDTH)}" style="max-width:100%;height:auto" role="img" '
            f'aria-label="{alt}" font-family="{FONT}"><title>{title}</title><desc>{alt}</desc>'
            f"<style>@media (prefers-color-scheme:dark){{{dark}}}</style>"
            f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{high - 1}" rx="6" class="d-card" fill="{fill}" '
            f'stroke="{edge}"/>' + "".join(self._parts) + "</svg>"
        )

    def _repr_svg_(self) -> str:
        return self.svg()

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.svg().encode()).decode()
        return (
            f'<img src="data:image/svg+xml;base64,{data}" alt="{html.escape(self.alt)}" width="{SHOWN}" '
            'style="max-width:100%;height:auto">'
        )


def _class(attribute: str, name: str) -> str:
    return f"d-{attribute[0]}-{name.replace(' ', '-')}"


def _joined(look: str, more: str) -> str:
    """Two sets of attributes, each with a class, as one with both."""
    if 'class="' not in look:
        return f"{look} {more}"
    head, rest = more.split('"', 2)[1:]
    return look.replace('class="', f'class="{head} ', 1) + rest
