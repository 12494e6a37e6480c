"""The transformer's block and its relatives: norms, GPT-2 beside Llama, the gated MLP, encoder and decoder."""

from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Box, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import legend, plus, tokens


def branch(c: Canvas, x: float, top: float, out: float, label: str, fill: str, side: float, norm: str = "") -> Box:
    """A branch of the residual stream, which runs upwards at x: leaves it below at `out`, is added to it at `top`."""
    plus(c, x, top)
    box = c.box(side, top - 2 + 16, 104, 26, label, fill)
    if norm:
        lower = c.box(side, box.bottom + 14, 104, 22, norm, "grey")
        c.arrow((x, out), (lower.cx, out), lower.s)
        c.arrow(lower.n, box.s)
    else:
        c.arrow((x, out), (box.cx, out), box.s)
    c.arrow(box.n, (box.cx, top), (x + 8, top))
    return box


@diagram
def block(width: int = 128, time: int = 256, inner: int = 256, layers: int = 4, vocabulary: int = 2048) -> Canvas:
    """The block: two branches read the residual stream and add to it; shapes stand on the arrows."""
    c = Canvas(
        "A block: two branches add to a residual stream",
        "A vertical residual stream from the embedding at the bottom to the logits at the top. Attention and then an "
        "MLP each read a normalised copy of it and add their result to it.",
    )
    x, top = 104, c.y
    head = c.box(x - 60, top + 2, 120, 24, "LM head", "green")
    norm = c.box(x - 60, top + 40, 120, 22, "norm", "grey")
    embedding = c.box(x - 60, top + 356, 120, 24, "embedding", "green")
    c.arrow(norm.n, head.s)
    c.rect(MARGIN + 20, top + 76, 342, 262, None, edge="line", dash=True)
    c.text(366, top + 90, f"block, × {layers}", anchor="end", bold=True)
    branch(c, x, top + 104, top + 206, "MLP", "blue", 190, "norm")
    branch(c, x, top + 222, top + 326, "attention", "orange", 190, "norm")
    c.arrow(embedding.n, (x, top + 230), thick=3)
    c.arrow((x, top + 214), (x, top + 112), thick=3)
    c.arrow((x, top + 96), norm.s, thick=3)
    c.text(304, top + 131, f"inside\n{inner} wide", anchor="start", ink="muted")
    c.text(304, top + 249, "mixes\npositions", anchor="start", ink="muted")
    c.text(x + 66, top + 14, f"logits (B, {time}, {vocabulary})", anchor="start", ink="muted")
    c.text(x + 66, top + 368, f"ids (B, {time}) → (B, {time}, {width})", anchor="start", ink="muted")
    c.text(x - 10, top + 176, "stream", anchor="end", ink="muted")
    c.text(x - 10, top + 296, "(B,T,C)", anchor="end", ink="muted")
    c.note(f"the residual stream, thick, has one shape all the way: (B, T, C) = (B, {time}, {width})")
    return c


@diagram
def pre_post_norm() -> Canvas:
    """Where the norm stands: in the branch (pre-norm) or on the residual stream (post-norm)."""
    c = Canvas(
        "Pre-norm and post-norm",
        "Two residual streams side by side. On the left the norm stands in the branch, and the stream passes "
        "untouched; on the right it stands on the stream, after each addition.",
    )
    top = c.y + 14
    for x, title in ((50, "pre-norm: GPT-2, Llama"), (246, "post-norm: BERT, 2017")):
        c.text(x - 32, top - 6, title, anchor="start", bold=True)
    x, side = 50, 84
    branch(c, x, top + 54, top + 166, "attention or MLP", "orange", side, "norm")
    c.arrow((x, top + 186), (x, top + 62), thick=3)
    c.arrow((x, top + 46), (x, top + 14), thick=3)
    x, side = 246, 278
    norm = c.box(x - 28, top + 26, 56, 22, "norm", "grey")
    branch(c, x, top + 74, top + 166, "attention or MLP", "orange", side)
    c.arrow((x, top + 186), (x, top + 82), thick=3)
    c.arrow((x, top + 66), norm.s, thick=3)
    c.arrow(norm.n, (x, top + 8), thick=3)
    c.note("pre-norm: gradients pass through the stream unchanged, so deep models train without a careful warm-up")
    return c


@diagram
def gpt2_beside_llama() -> Canvas:
    """The parts of GPT-2 and of Llama, row by row."""
    rows = (
        ("norm", "LayerNorm", "RMSNorm: no mean"),
        ("positions", "learned, added", "rotary, in Q and K"),
        ("attention", "multi-head", "grouped queries"),
        ("MLP", "GELU, 2 matrices", "SwiGLU, 3 matrices"),
        ("biases", "yes", "none"),
        ("embeddings", "tied", "tied if small"),
    )
    c = Canvas(
        "GPT-2 and Llama: one design, six parts exchanged",
        "A table of parts: " + "; ".join(f"{part}: {old} in GPT-2, {new} in Llama" for part, old, new in rows) + ".",
    )
    for x, name, fill in ((100, "GPT-2 (2019)", "sky"), (246, "Llama (2023)", "orange")):
        c.box(x, c.y + 2, 140, 24, name, fill, bold=True)
    for i, (part, old, new) in enumerate(rows):
        y = c.y + 34 + 28 * i
        c.text(MARGIN, y + 12, part, anchor="start", bold=True)
        c.box(100, y, 140, 24, old, edge="edge")
        c.box(246, y, 140, 24, new, edge="edge")
    c.note("the same in both: pre-norm, a residual stream, causal attention, next-token prediction")
    return c


@diagram
def gated_mlp(width: int = 8, inner: int = 21) -> Canvas:
    """The plain MLP beside the gated one (SwiGLU), with their sizes."""
    plain = 2 * width * 4 * width
    gated = 3 * width * inner
    c = Canvas(
        "The MLP, plain and gated (SwiGLU)",
        f"Left, two matrices with GELU between, {plain} weights; right, three matrices, where one branch passes "
        f"through SiLU and multiplies the other, {gated} weights.",
    )
    top = c.y + 14
    c.text(98, top - 4, "plain", bold=True)
    for y, label, fill in ((14, f"down ({4 * width} → {width})", "blue"), (60, "GELU", "grey"),
                           (106, f"up ({width} → {4 * width})", "blue")):  # fmt: skip
        c.box(28, top + y, 140, 24, label, fill)
    for y in (60, 106, 152):
        c.arrow((98, top + y), (98, top + y - 22))
    c.text(98, top + 162, "x")
    c.text(290, top - 4, "gated", bold=True)
    c.box(218, top + 14, 144, 24, f"down ({inner} → {width})", "blue")
    plus(c, 290, top + 60, "×")
    c.box(206, top + 66, 64, 22, "SiLU", "grey")
    c.box(200, top + 106, 76, 24, f"gate ({inner})", "orange")
    c.box(304, top + 106, 76, 24, f"up ({inner})", "blue")
    c.arrow((290, top + 52), (290, top + 38))
    c.arrow((238, top + 106), (238, top + 88))
    c.arrow((238, top + 66), (238, top + 60), (282, top + 60))
    c.arrow((342, top + 106), (342, top + 60), (298, top + 60))
    for x in (238, 342):
        c.arrow((290, top + 152), (290, top + 142), (x, top + 142), (x, top + 130))
    c.text(290, top + 162, "x")
    c.note(f"weights: {plain} and {gated}. With 8/3 of the width inside, three matrices are as large as two with 4")
    return c


@diagram
def encoder_decoder(
    source: Sequence[str] = ("die", "Eule", "schlief"), target: Sequence[str] = ("the", "owl", "slept")
) -> Canvas:
    """An encoder-decoder: one reads the source both ways, the other writes and looks across."""
    c = Canvas(
        "Encoder and decoder, joined by cross-attention",
        f"An encoder reads {' '.join(source)!r} in both directions; a causal decoder generates {' '.join(target)!r}, "
        "and takes keys and values from the encoder by cross-attention.",
    )
    top = c.y + 10
    left = c.box(MARGIN + 6, top + 50, 150, 84, "encoder\nattends both ways", "sky")
    right = c.rect(230, top + 34, 156, 100, "plain", edge="line")
    cross = c.box(240, top + 74, 136, 24, "cross-attention", "orange")
    c.box(240, top + 104, 136, 24, "causal attention", "blue")
    c.box(240, top + 44, 136, 24, "MLP", "green")
    c.arrow(left.e, (230, left.cy), (240, cross.cy), ink="red line", thick=2)
    c.text((left.right + 230) / 2, left.cy - 16, "keys,")
    c.text((left.right + 230) / 2, left.cy + 14, "values")
    for row, box, y in ((source, left, top + 162), (["<bos>", *target[:-1]], right, top + 162)):
        wide = sum(7.2 * len(w) + 10 for w in row) + 4 * (len(row) - 1)
        for word in tokens(c, y, row, x=box.cx - wide / 2):
            c.arrow(word.n, (word.cx, box.bottom))
    wide = sum(7.2 * len(w) + 10 for w in target) + 4 * (len(target) - 1)
    for word in tokens(c, top, target, "green", x=right.cx - wide / 2):
        c.arrow((word.cx, right.y), word.s)
    c.note("a decoder alone, as in GPT, puts source and target into one row and needs no cross-attention")
    return c


@diagram
def whole_model(words: Sequence[str] = ("the", "owl", "slept"), layers: int = 3) -> Canvas:
    """All positions at once: each layer passes information upwards, and to the right alone."""
    following = [*words[1:], "…"]
    c = Canvas(
        "All positions at once, to the right only",
        f"A grid of {layers} layers by {len(words)} positions; arrows go up within a position and up to the right "
        "between positions, never to the left. Above each position stands the token it predicts.",
    )
    step, left, high = 104, 96, 46
    top = c.y + 10
    for i, word in enumerate(words):
        x = left + step * i
        c.box(x - 34, top, 68, 22, following[i], "green", mono=True)
        c.box(x - 34, top + high * (layers + 1), 68, 22, word, "sky", mono=True)
        for layer in range(layers):
            y = top + high * (layer + 1)
            c.arrow((x, y), (x, y - high + 22))
            for j in range(i):
                c.arrow((left + step * j + 20, y + high), (x - 22, y + 22), ink="orange line", thick=1)
            c.box(x - 22, y, 44, 22, "block", "plain")
        c.arrow((x, top + high * (layers + 1)), (x, top + high * layers + 22))
    c.text(MARGIN, top + 11, "predicts", anchor="start", ink="muted")
    c.text(MARGIN, top + high * (layers + 1) + 11, "reads", anchor="start", ink="muted")
    legend(c, [("grey", "within a position"), ("orange", "attention, from the left")])
    return c


@diagram
def layer_rms_norm(x: Sequence[float] = (1.0, 2.0, 3.0, 6.0)) -> Canvas:
    """LayerNorm and RMSNorm of a few numbers."""
    n = len(x)
    mean = sum(x) / n
    spread = (sum((v - mean) ** 2 for v in x) / n) ** 0.5
    size = (sum(v * v for v in x) / n) ** 0.5
    layer, rms = [(v - mean) / spread for v in x], [v / size for v in x]
    c = Canvas(
        "LayerNorm and RMSNorm",
        f"Of the numbers {', '.join(f'{v:g}' for v in x)} LayerNorm subtracts the mean {mean:.2f} and divides by the "
        f"standard deviation {spread:.2f}; RMSNorm only divides by the root mean square {size:.2f}.",
    )
    for i, (name, values, how) in enumerate((
        ("x", x, ""),
        ("LayerNorm", layer, f"(x − {mean:.2f}) / {spread:.2f}"),
        ("RMSNorm", rms, f"x / {size:.2f}"),
    )):  # fmt: skip
        y = c.y + 8 + 34 * i
        c.text(MARGIN, y + 12, name, anchor="start", bold=True)
        for j, value in enumerate(values):
            c.box(92 + 48 * j, y, 44, 24, f"{value:.2f}".replace("-", "−"), ("plain", "sky", "orange")[i], edge="edge")
        c.text(92 + 48 * n + 4, y + 12, how, anchor="start", ink="muted")
    c.note("the mean of LayerNorm's output is 0, RMSNorm keeps it; both then multiply each channel by a learned number")
    return c
