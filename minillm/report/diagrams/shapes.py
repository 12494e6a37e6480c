"""What diagrams are made of: rows of tokens, tables of cells, braces, legends, bars, axes, stacks of layers."""

import math
from collections.abc import Callable, Sequence

from minillm.report.diagrams.canvas import MARGIN, WIDTH, Box, Canvas, Point
from minillm.report.diagrams.style import shade, width_of

FROZEN, TRAINED = "plain", "orange"  # whose weights stay, whose learn


def tokens(
    c: Canvas, y: float, words: Sequence[str], fills: Sequence[str] | str = "plain", *,
    x: float | None = None, width: float | None = None, high: float = 22, gap: float = 4, size: float = 12,
    mono: bool = True, dash: Sequence[bool] = (),
) -> list[Box]:  # fmt: skip
    """A row of tokens, as wide as their words or all of one width, from x on or in the middle, cut to fit."""
    widths = [width or width_of(word, size, mono=mono) + 10 for word in words]
    room = WIDTH - MARGIN - (MARGIN if x is None else x) - gap * (len(words) - 1)
    if sum(widths) > room:
        widths = [wide * room / sum(widths) for wide in widths]
    left = (WIDTH - sum(widths) - gap * (len(words) - 1)) / 2 if x is None else x
    fills = [fills] * len(words) if isinstance(fills, str) else fills
    boxes = []
    for index, (word, wide) in enumerate(zip(words, widths)):
        dashed = bool(dash) and dash[index]
        boxes.append(c.box(left, y, wide, high, word, fills[index], size, mono=mono, dash=dashed))
        left += wide + gap
    return boxes


def cells(
    c: Canvas, x: float, y: float, values: Sequence[Sequence], width: float = 40, high: float = 22, *,
    form: str | Callable = "{}", rows: Sequence[str] = (), columns: Sequence[str] = (),
    fills: Sequence[Sequence[str]] | str | None = None, largest: float = 0, size: float = 12, mono: bool = False,
) -> list[list[Box]]:  # fmt: skip
    """A table of cells with names of rows on the left and of columns above.

    Args:
        values: rows of numbers or words; fills: colours for all or each; none: numbers are shaded by their size.
    """
    write = form if callable(form) else form.format
    if fills is None:
        largest = largest or max(abs(value) for row in values for value in row)
        fills = [[shade(value, largest) for value in row] for row in values]
    elif isinstance(fills, str):
        fills = [[fills] * len(row) for row in values]
    for i, name in enumerate(columns):
        c.text(x + width * (i + 0.5), y - 10, name, size, mono=mono)
    boxes = []
    for j, row in enumerate(values):
        if rows:
            c.text(x - 6, y + high * (j + 0.5), rows[j], size, "end", mono=mono)
        boxes.append(
            [
                c.box(x + width * i, y + high * j, width, high, write(value), fills[j][i], size, edge="edge")
                for i, value in enumerate(row)
            ]
        )
    return boxes


def around(boxes: Sequence[Box], by: float = 0) -> Box:
    """The smallest box that holds all of them, and so much more on each side."""
    x, y = min(box.x for box in boxes) - by, min(box.y for box in boxes) - by
    return Box(x, y, max(box.right for box in boxes) + by - x, max(box.bottom for box in boxes) + by - y)


def brace(c: Canvas, left: float, right: float, y: float, label: str, below: bool = True, ink: str = "line") -> None:
    """A bracket under (or above) a stretch, with a label."""
    d = 5 if below else -5
    c.line((left, y), (left, y + d), (right, y + d), (right, y), ink=ink)
    middle = (left + right) / 2
    c.line((middle, y + d), (middle, y + 1.8 * d), ink=ink)
    c.text(middle, y + 1.8 * d + (9 if below else -9) * (1 + 1.24 * label.count("\n")), label)


def legend(c: Canvas, pairs: Sequence[tuple[str, str]], y: float | None = None, x: float = MARGIN) -> None:
    """Squares of colour with what they mean, in rows; a fill that begins with ~ is dashed."""
    y = c._bottom + 16 if y is None else y
    start = x
    for fill, label in pairs:
        wide = 20 + width_of(label, 12) + 14
        if x > start and x + wide - 14 > WIDTH - MARGIN:
            x, y = start, y + 18
        c.rect(x, y - 6, 13, 12, fill.strip("~"), edge="line", dash=fill.startswith("~"), round=2)
        c.text(x + 19, y, label, anchor="start")
        x += wide


def standing_bars(
    c: Canvas, x: float, y: float, values: Sequence[float], names: Sequence[str], *, width: float = 34,
    high: float = 70, gap: float = 6, form: str = "{:.2f}", fills: Sequence[str] | str = "sky", largest: float = 0,
    size: float = 12,
) -> list[Box]:  # fmt: skip
    """Upright bars that stand on y, with their numbers above and their names below; those of 0 have no number."""
    largest = largest or max(values)
    fills = [fills] * len(values) if isinstance(fills, str) else fills
    boxes = []
    for i, value in enumerate(values):
        left, tall = x + i * (width + gap), max(high * value / largest, 0.5)
        boxes.append(c.rect(left, y - tall, width, tall, fills[i], edge="line", round=1))
        if value:
            c.text(left + width / 2, y - tall - 8, form.format(value), size)
        if names:
            c.text(left + width / 2, y + 10, names[i], size)
    return boxes


def lying_bars(
    c: Canvas, y: float, values: Sequence[float], names: Sequence[str], *, x: float = 120, width: float = 200,
    high: float = 18, step: float = 26, forms: str | Sequence[str] = "{:.2f}", fills: Sequence[str] | str = "sky",
    largest: float = 0,
) -> list[Box]:  # fmt: skip
    """Bars that begin at x, with their names before and their numbers (or texts) behind."""
    largest = largest or max(values)
    fills = [fills] * len(values) if isinstance(fills, str) else fills
    boxes = []
    for i, value in enumerate(values):
        box = c.rect(x, y + i * step, max(width * value / largest, 1), high, fills[i], edge="line", round=1)
        c.text(x - 8, box.cy, names[i], anchor="end")
        c.text(box.right + 6, box.cy, forms.format(value) if isinstance(forms, str) else forms[i], anchor="start")
        boxes.append(box)
    return boxes


class Axes:
    """Two axes in a frame, and where a point of the data lies in the picture."""

    def __init__(
        self, c: Canvas, x: float, y: float, w: float, h: float, xs: tuple[float, float], ys: tuple[float, float],
        xlabel: str = "", ylabel: str = "", log: bool = False,
    ):  # fmt: skip
        self.c, self.frame, self.log = c, Box(x, y, w, h), log
        self.xs, self.ys = (tuple(map(math.log10, ends)) if log else ends for ends in (xs, ys))
        c.line((x, y), (x, y + h), (x + w, y + h))
        if xlabel:
            c.text(x + w, y + h + 11, xlabel, anchor="end", ink="muted")
        if ylabel:
            c.text(x + 6, y + 2, ylabel, anchor="start", ink="muted")

    def __call__(self, x: float, y: float) -> Point:
        """The place of a point of the data."""
        if self.log:
            x, y = math.log10(x), math.log10(y)
        across = (x - self.xs[0]) / (self.xs[1] - self.xs[0])
        up = (y - self.ys[0]) / (self.ys[1] - self.ys[0])
        return self.frame.x + across * self.frame.w, self.frame.bottom - up * self.frame.h

    def curve(self, function: Callable, left: float, right: float, ink: str = "blue line", dash: bool = False) -> None:
        """The curve of a function between two values of x; what leaves the frame at the top or bottom is not drawn."""
        steps = [i / 60 for i in range(61)]
        at = [left * (right / left) ** s if self.log else left + (right - left) * s for s in steps]
        points = [self(x, function(x)) for x in at]
        inside = [point for point in points if self.frame.y - 1 <= point[1] <= self.frame.bottom + 1]
        self.c.line(*inside, ink=ink, thick=2, dash=dash, curve=True)

    def level(self, y: float, ink: str = "line") -> Point:
        """A broken horizontal line, and where it ends."""
        left, right = self(self._back(self.xs[0]), y), self(self._back(self.xs[1]), y)
        self.c.line(left, right, ink=ink, dash=True)
        return right

    def _back(self, value: float) -> float:
        return 10**value if self.log else value


def stack(
    c: Canvas, x: float, y: float, w: float, layers: Sequence[tuple[str, str]], high: float = 26, gap: float = 14
) -> list[Box]:
    """Layers from bottom to top, with arrows between them; y is the top of the highest."""
    boxes = []
    for index, (label, fill) in enumerate(reversed(layers)):
        boxes.insert(0, c.box(x, y + index * (high + gap), w, high, label, fill))
    for below, above in zip(boxes, boxes[1:]):
        c.arrow(below.n, above.s)
    return boxes


def chained(
    c: Canvas, y: float, labels: Sequence[tuple[str, str]], high: float = 36, gap: float = 22, size: float = 12
) -> list[Box]:
    """Boxes from left to right over the whole width, with arrows between them."""
    wide = (WIDTH - 2 * MARGIN - gap * (len(labels) - 1)) / len(labels)
    boxes = [c.box(MARGIN + i * (wide + gap), y, wide, high, *each, size) for i, each in enumerate(labels)]
    for left, right in zip(boxes, boxes[1:]):
        c.arrow(left.e, right.w_)
    return boxes


def plus(c: Canvas, x: float, y: float, sign: str = "+") -> Box:
    """A sum, where a branch joins the residual stream; returns its box."""
    box = c.rect(x - 8, y - 8, 16, 16, "card", edge="line", round=8)
    c.text(x, y, sign, 13, bold=True)
    return box


def softmax(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    """The softmax of a few numbers, in plain Python."""
    top = max(logits)
    raised = [math.exp((logit - top) / temperature) for logit in logits]
    return [value / sum(raised) for value in raised]


def signed(value: float, digits: int = 2) -> str:
    """A number with a true minus sign."""
    return f"{value:.{digits}f}".replace("-", "−")
