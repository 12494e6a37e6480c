"""Attention: one query, masks, heads, positions, the key/value cache, grouped queries."""

import math
from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import brace, cells, legend, signed, softmax, tokens


@diagram
def one_query(
    words: Sequence[str] = ("the", "owl", "sleeps"), query: Sequence[float] = (1.0, 0.5),
    keys: Sequence[Sequence[float]] = ((0.0, 0.4), (2.0, 1.0), (-0.5, 0.2)),
    values: Sequence[Sequence[float]] = ((0.1, 0.0), (1.0, 0.8), (0.2, -0.6)),
) -> Canvas:  # fmt: skip
    """One query against three keys: scores, softmax, and the weighted mean of the values."""
    scores = [sum(q * k for q, k in zip(query, key)) / math.sqrt(len(query)) for key in keys]
    weights = softmax(scores)
    out = [sum(w * value[i] for w, value in zip(weights, values)) for i in range(len(values[0]))]
    most = max(range(len(words)), key=lambda i: weights[i])
    c = Canvas(
        "Attention: one query, a few keys",
        f"One query is compared with {len(keys)} keys; after the softmax {words[most]!r} has the weight "
        f"{weights[most]:.2f}, and the output is the weighted sum of the values, "
        f"({', '.join(signed(v) for v in out)}).",
    )

    def vector(numbers):
        return "(" + ", ".join(f"{v:g}".replace("-", "−") for v in numbers) + ")"

    c.box(MARGIN, c.y + 2, 190, 24, f"query of “{words[-1]}”: q = {vector(query)}", "orange")
    columns = (("key k", 108), ("q·k / √D", 190), ("weight", 262), ("value v", 344))
    top = c.y + 58
    for name, x in columns:
        c.text(x, top - 10, name, ink="muted")
    for i, word in enumerate(words):
        y = top + 6 + 28 * i
        c.box(MARGIN, y, 56, 22, word, mono=True)
        c.text(108, y + 11, vector(keys[i]))
        c.text(190, y + 11, signed(scores[i]))
        cells(c, 236, y, [[weights[i]]], 52, form="{:.2f}", largest=1)
        c.text(344, y + 11, vector(values[i]))
    y = top + 6 + 28 * len(words)
    c.arrow((262, y - 4), (262, y + 16), (290, y + 16))
    c.arrow((344, y - 2), (344, y + 6))
    c.box(292, y + 6, 94, 24, f"({', '.join(signed(v) for v in out)})", "sky", bold=True)
    c.text(MARGIN, y + 18, "output = Σ weight × value", anchor="start")
    return c


def _mask(c: Canvas, x: float, y: float, seen: Sequence[Sequence[bool]], names: Sequence[str], title: str) -> None:
    side = 21
    c.text(x + side * len(seen) / 2, y, title, bold=True)
    fills = [["blue" if see else "card" for see in row] for row in seen]
    cells(c, x, y + 30, [[""] * len(row) for row in seen], side, side, fills=fills, rows=names, columns=names)


@diagram
def attention_masks(texts: Sequence[str] = ("aab", "xy"), pads: int = 1) -> Canvas:
    """Who may attend to whom: causal, with padding, and with two texts packed into one row."""
    first, packed = texts[0], "".join(texts)
    n = len(packed)
    causal = [[s <= t for s in range(n)] for t in range(n)]
    real = n - pads
    padded = [[s <= t and t < real and s < real for s in range(n)] for t in range(n)]
    owner = [0 if i < len(first) else 1 for i in range(n)]
    apart = [[s <= t and owner[s] == owner[t] for s in range(n)] for t in range(n)]
    c = Canvas(
        "Three masks: who may attend to whom",
        "Three grids, a row for each query and a column for each key, coloured where attention is allowed: a lower "
        "triangle for causal; the same without padding; and a triangle for each text where two are packed.",
    )
    places = [str(i + 1) for i in range(n)]
    _mask(c, 28, c.y + 8, causal, places, "causal")
    _mask(c, 154, c.y + 8, padded, [*places[:real], *"–" * pads], "padding")
    _mask(c, 280, c.y + 8, apart, ["A" if o == 0 else "B" for o in owner], "packed")
    legend(c, [("blue", "may attend"), ("card", "score is −∞, weight 0")])
    c.note("rows: queries; columns: keys; “–” is padding; A and B are two texts in one row")
    return c


@diagram
def attention_row(words: Sequence[str] = ("the", "owl", "said", "that", "the"), scores: Sequence[float] = (
    0.2, 2.2, 0.4, -0.3, 0.9)) -> Canvas:  # fmt: skip
    """What the last token attends to: the thicker the line, the larger the weight."""
    weights = softmax(scores)
    most = max(range(len(words)), key=lambda i: weights[i])
    c = Canvas(
        "A row of attention sums to 1",
        f"Lines from the last token back to each token, the thicker the larger its weight; the largest, "
        f"{weights[most]:.2f}, goes to {words[most]!r}.",
    )
    row = tokens(c, c.y + 8, words, "sky", width=58, gap=14, high=24)
    y = row[0].bottom + 60
    last = c.box(row[-1].x, y, 58, 24, words[-1], "orange", mono=True)
    c.text(row[0].x, last.cy, "the last token asks:", anchor="start", ink="muted")
    for box, weight in zip(row, weights):
        c.line((last.cx, last.y), (box.cx, box.bottom + 22), ink="blue line", thick=0.6 + 7 * weight)
        c.text(box.cx, box.bottom + 12, f"{weight:.2f}", bold=weight == weights[most])
    return c


@diagram
def heads_cut(width: int = 12, heads: int = 3) -> Canvas:
    """Several heads: the channels are cut into pieces, each attends by itself, and the pieces are joined."""
    each = width // heads
    c = Canvas(
        "Heads: the channels, cut into pieces",
        f"A row of {width} channels is cut into {heads} heads of {each}; each head computes attention weights of its "
        f"own, and the results, side by side, have {width} channels again.",
    )
    colours = ("blue", "orange", "green", "pink", "sky", "red", "grey")
    side = 348 / width
    top = c.y + 22
    fills = [[colours[i // each % 7] for i in range(width)]]
    cells(c, 26, top, [[""] * width], side, 20, fills=fills)
    c.text(26, top - 10, f"queries (and keys, values) of one token: C = {width} channels", anchor="start")
    for h in range(heads):
        left, wide = 26 + h * each * side, each * side
        box = c.box(left + 6, top + 48, wide - 12, 40, f"attention\nhead {h + 1}", colours[h % 7])
        c.arrow((box.cx, top + 20), box.n, label=f"D = {each}" if h == 0 else "")
        c.arrow(box.s, (box.cx, top + 112))
    cells(c, 26, top + 112, [[""] * width], side, 20, fills=fills)
    out = c.box(110, top + 154, 180, 24, "output matrix (C, C)", "plain")
    c.arrow((200, top + 132), out.n)
    c.text(26, top + 143, "joined", anchor="start", ink="muted")
    c.note("each head has weights of its own, so it can look for something else; the output matrix mixes them")
    return c


@diagram
def rotary(dims: int = 4, positions: Sequence[int] = (0, 1, 2, 3), base: float = 100.0) -> Canvas:
    """Rotary positions: each pair of channels turns by an angle that grows with the position."""
    rates = [base ** (-2 * i / dims) for i in range(dims // 2)]
    c = Canvas(
        "Rotary positions: pairs of channels turn",
        f"A dial for each pair of channels at positions {', '.join(map(str, positions))}: the first pair turns by "
        f"{rates[0]:.2g} radians a step, the last only by {rates[-1]:.2g}.",
    )
    for i, rate in enumerate(rates):
        y = c.y + 54 + 86 * i
        c.text(MARGIN, y, f"channels\n{2 * i + 1} and {2 * i + 2}:\n{rate:.2g} rad a step", anchor="start")
        for j, position in enumerate(positions):
            x, angle = 158 + 66 * j, position * rate
            c.rect(x - 26, y - 26, 52, 52, "plain", round=26)
            c.dot(x, y, 2, "line")
            tip = (x + 24 * math.cos(angle), y - 24 * math.sin(angle))
            c.arrow((x, y), tip, ink="blue line" if i == 0 else "red line", thick=2)
            if i == 0:
                c.text(x, y - 40, f"position {position}" if j == 0 else str(position), ink="muted")
    c.note("queries and keys are turned alike, so their product depends on how far they are apart, not on where")
    return c


@diagram
def kv_cache(words: Sequence[str] = ("the", "owl", "slept", "in")) -> Canvas:
    """Generation with a key/value cache: only the newest token is computed."""
    n = len(words)
    c = Canvas(
        "The KV cache: compute a token once",
        f"Rows for {n} steps of generation. Without a cache each step computes all tokens so far, "
        f"{n * (n + 1) // 2} in all; with one it computes the newest and reads the others, {n} in all.",
    )
    for x, title, cached in ((MARGIN + 50, "without a cache", False), (MARGIN + 226, "with a cache", True)):
        c.text(x + 70, c.y + 8, title, bold=True)
        for step in range(n):
            y = c.y + 24 + 28 * step
            if not cached:
                c.text(MARGIN, y + 11, f"step {step + 1}", anchor="start", ink="muted")
            for i in range(step + 1):
                fill = "sky" if cached and i < step else "orange"
                c.box(x + 36 * i, y, 34, 22, words[i], fill, 12, mono=False, dash=fill == "sky")
    legend(c, [("orange", "computed"), ("~sky", "keys and values read from the cache")])
    c.note(f"computed in all: {n * (n + 1) // 2} against {n}. The price is memory: 2 × layers × KV heads × D numbers "
           "for each token")  # fmt: skip
    return c


@diagram
def grouped_queries(heads: int = 4, groups: Sequence[int] = (4, 2, 1)) -> Canvas:
    """Grouped-query attention: several heads of queries share one head of keys and values."""
    names = {heads: "multi-head", 1: "multi-query"}
    c = Canvas(
        "Grouped queries: heads share keys and values",
        f"Three panels with {heads} query heads each, above " + ", ".join(map(str, groups)) + " heads of keys and "
        "values; lines show which query heads share which.",
    )
    for panel, kv in enumerate(groups):
        x, wide = 20 + 126 * panel, 106
        c.text(x + wide / 2, c.y + 10, names.get(kv, "grouped"), bold=True)
        step, share = wide / heads, wide / kv
        for h in range(heads):
            q = c.box(x + step * h + 2, c.y + 26, step - 4, 24, "Q", "orange")
            g = h * kv // heads
            c.line(q.s, (x + share * (g + 0.5), c.y + 84))
        for g in range(kv):
            c.box(x + share * g + 2, c.y + 84, share - 4, 24, "KV", "blue")
        c.text(x + wide / 2, c.y + 124, f"cache: {kv}/{heads}" if kv < heads else "cache: all", ink="muted")
    c.note("fewer heads of keys and values make the KV cache smaller; Llama's larger models share one among 4 to 8")
    return c


@diagram
def induction_head(words: Sequence[str] = ("Mira", "met", "Tom", ".", "Then", "Mira", "met")) -> Canvas:
    """Induction: find the same token earlier, and copy what followed it."""
    last = len(words) - 1
    before = max((i for i in range(last) if words[i] == words[last]), default=None)
    if before is None:
        raise ValueError(f"the last word, {words[last]!r}, does not occur earlier: nothing can be copied")
    copied = words[before + 1]
    c = Canvas(
        "An induction head: find, then copy",
        f"In {' '.join(words)!r} the last token looks for its earlier occurrence, attends to the token after it, and "
        f"predicts {copied!r}.",
    )
    fills = ["orange" if i == last else "blue" if i == before + 1 else "sky" if i == before else "plain"
             for i in range(len(words))]  # fmt: skip
    row = tokens(c, c.y + 56, words, fills, gap=5)
    now, same, after = row[last], row[before], row[before + 1]
    c.arrow((now.cx - 5, now.y), (now.cx - 5, now.y - 38), (after.cx, now.y - 38), after.n, ink="blue line",
            label="2  attend to what followed")  # fmt: skip
    y = now.bottom + 28
    c.arrow(
        (now.cx - 5, now.bottom), (now.cx - 5, y), (same.cx, y), same.s, dash=True, label="1  the same token before"
    )
    out = c.box(now.cx - 22, y + 24, 60, 24, copied, "blue", mono=True, bold=True)
    c.arrow((now.cx + 8, now.bottom), (now.cx + 8, out.y), ink="blue line")
    c.text(out.x - 8, out.cy, "3  predict", anchor="end")
    c.note("two layers do it: a head in the first tells each token what stood before it, one in the second finds it")
    return c


@diagram
def causal_or_masked(words: Sequence[str] = ("the", "owl", "slept", "in", "a", "mill"), at: int = 2) -> Canvas:
    """What a decoder and an encoder see when they predict the same word."""
    c = Canvas(
        "Left only, or both sides",
        f"To predict {words[at]!r} a decoder sees the {at} tokens on its left; an encoder sees both sides, with a mask "
        "token in the place of the word.",
    )
    for title, both in (("decoder (causal): the left side", False), ("encoder (masked): both sides", True)):
        c.text(MARGIN, c.y + 8, title, anchor="start", bold=True)
        shown = [word if i != at else "?" for i, word in enumerate(words)]
        if both:
            shown[at] = "<mask>"
        seen = ["orange" if i == at else "sky" if both or i < at else "card" for i in range(len(words))]
        row = tokens(c, c.y + 22, shown, seen, gap=6, dash=[fill == "card" for fill in seen])
        inside = [box for box, fill in zip(row, seen) if fill == "sky" and box.x < row[at].x]
        brace(c, inside[0].x, inside[-1].right, row[0].bottom + 4, "seen")
        if both and at + 1 < len(words):
            brace(c, row[at + 1].x, row[-1].right, row[0].bottom + 4, "seen")
        c.y = c._bottom + 16
    return c
