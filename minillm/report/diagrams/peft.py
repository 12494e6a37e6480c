"""Where adapters stand in a block, prompts and prefixes, and what parameter-efficient fine-tuning costs and saves."""

from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import Axes, brace, cells, legend, lying_bars, plus, tokens


@diagram
def where_peft_stands() -> Canvas:
    """The block with every method's place in it."""
    c = Canvas(
        "Where each PEFT method stands in the block",
        "A block with its residual stream. LoRA stands beside the matrices of attention and MLP, IA3 on keys, values "
        "and the MLP's inner channels, prefixes before keys and values, adapters behind each branch, BitFit in the "
        "biases, prompts at the input.",
    )
    x, top = 40, c.y + 10
    for name, y, inner in (
        ("MLP", 0, (("down", 18), ("up", 62))),
        ("attention", 148, (("output", 18), ("Q  K  V", 62))),
    ):
        plus(c, x, top + y + 8)
        c.rect(84, top + y, 118, 108, None, edge="line", dash=True)
        c.text(143, top + y + 98, name, bold=True)
        for label, dy in inner:
            c.box(96, top + y + dy - 4, 94, 26, label, "plain")
        c.arrow((143, top + y + 58), (143, top + y + 40))
        c.arrow((x, top + y + 126), (143, top + y + 126), (143, top + y + 108))
        c.arrow((84, top + y + 8), (x + 8, top + y + 8))
    c.arrow((x, top + 330), (x, top + 164), thick=3)
    c.arrow((x, top + 148), (x, top + 16), thick=3)
    c.arrow((x, top), (x, top - 10), thick=3)
    ids = tokens(c, top + 332, ["p", "p", "the", "owl"], ["orange", "orange", "sky", "sky"], x=MARGIN)
    for label, y, target in (
        ("adapter: behind a branch", 8, (202, 8)), ("LoRA: beside each matrix", 34, (190, 27)),
        ("IA3: scales what is inside", 58, (146, 49)), ("BitFit: biases only", 82, (190, 71)),
        ("adapter: behind a branch", 156, (202, 156)), ("LoRA: beside each matrix", 182, (190, 175)),
        ("IA3: scales K and V", 208, (190, 214)), ("prefix: before K and V", 234, (190, 228)),
        ("prompt: vectors at the input", 343, (ids[-1].right, 343)),
    ):  # fmt: skip
        c.text(232, top + y, label, anchor="start")
        c.line((228, top + y), (target[0] + 1, top + target[1]), ink="orange line")
    c.note("all matrices are frozen; what is named on the right learns. P-tuning makes the prompt with a small "
           "network; LLaMA-Adapter gives the prefix a gate")  # fmt: skip
    return c


@diagram
def soft_prompt(words: Sequence[str] = ("the", "owl", "slept"), prompt: int = 3) -> Canvas:
    """A soft prompt: learned vectors before the vectors of the text."""
    c = Canvas(
        f"A soft prompt: {prompt} vectors that are no words",
        f"{prompt} learned vectors stand before the embeddings of {' '.join(words)!r}; all go through a frozen model, "
        "and the gradient changes the learned vectors alone.",
    )
    top = c.y + 6
    count = prompt + len(words)
    model = c.box(MARGIN, top, 372, 30, "model (frozen)", "plain")
    row = tokens(c, top + 58, [*(f"p{i + 1}" for i in range(prompt)), *["vector"] * len(words)],
                 ["orange"] * prompt + ["sky"] * len(words), width=340 / count - 4, gap=6, mono=False)  # fmt: skip
    for box in row:
        c.arrow(box.n, (box.cx, model.bottom))
    for box, word in zip(row[prompt:], words):
        below = c.box(box.x, top + 106, box.w, 22, word, "card", mono=True)
        c.arrow(below.n, box.s)
    brace(c, row[0].x, row[prompt - 1].right, row[0].bottom + 5, "learned")
    c.note(f"learned: {prompt} × C numbers. They take {prompt} places of the context")
    return c


@diagram
def prefix_keys(
    words: Sequence[str] = ("the", "owl"), prefix: int = 2, weights: Sequence[float] = (0.3, 0.2, 0.1, 0.4)
) -> Canvas:
    """Prefix tuning: learned keys and values before those of the text, in every layer."""
    c = Canvas(
        "Prefix tuning: learned keys and values in every layer",
        f"A query attends to {prefix} learned keys and to those of {len(words)} tokens; the weights are "
        + ", ".join(f"{w:g}" for w in weights) + ", and the learned values enter the sum.",
    )  # fmt: skip
    names = [*(f"prefix {i + 1}" for i in range(prefix)), *words]
    fills = ["orange"] * prefix + ["sky"] * len(words)
    top, wide = c.y + 10, 62
    query = c.box(MARGIN, top + 20, 56, 26, "query", "blue")
    c.arrow(query.e, (94, query.cy))
    for i, (label, y) in enumerate((("key", 0), ("value", 44))):
        c.text(96, top + y + 11, label, anchor="start", ink="muted")
        row = tokens(c, top + y, names, fills, x=132, width=wide, gap=4, mono=False)
        if i == 0:
            for box, weight in zip(row, weights):
                c.text(box.cx, box.bottom + 11, f"{weight:g}", bold=True)
    out = c.box(190, top + 96, 140, 24, "Σ weight × value", "green")
    for box in row:
        c.line((box.cx, box.bottom), (box.cx, box.bottom + 10))
    c.line((row[0].cx, row[0].bottom + 10), (row[-1].cx, row[0].bottom + 10))
    c.arrow((260, row[0].bottom + 10), out.n)
    c.note("a soft prompt acts in the first layer only; a prefix acts in all (P-tuning v2 is the same idea)")
    return c


@diagram
def ia3_scaling(matrix: Sequence[Sequence[float]] = ((1.0, 2.0), (0.5, -1.0)), x: Sequence[float] = (1.0, 1.0),
                scale: Sequence[float] = (0.5, 2.0)) -> Canvas:  # fmt: skip
    """IA3: each output of a matrix is multiplied by a learned number."""
    plain = [sum(w * v for w, v in zip(row, x)) for row in matrix]
    out = [s * v for s, v in zip(scale, plain)]
    c = Canvas(
        "IA3: one learned number for each output",
        f"A frozen matrix gives {', '.join(f'{v:g}' for v in plain)}; multiplied by the learned numbers "
        f"{', '.join(f'{v:g}' for v in scale)} that is {', '.join(f'{v:g}' for v in out)}.",
    )
    top, high = c.y + 28, 26

    def form(v):
        return f"{v:g}".replace("-", "−")

    left = MARGIN + 6
    for values, name, fill, sign in (
        (matrix, "W, frozen", "plain", "·"), ([[v] for v in x], "x", "sky", "="),
        ([[v] for v in plain], "W x", "sky", "×"), ([[v] for v in scale], "learned", "orange", "="),
        ([[v] for v in out], "output", "green", ""),
    ):  # fmt: skip
        wide = 42 * len(values[0])
        cells(c, left, top, values, 42, high, form=form, fills=fill)
        c.text(left + wide / 2, top - 11, name, ink="muted")
        if sign:
            c.text(left + wide + 14, top + high * len(values) / 2, sign, 16)
        left += wide + 28
    c.note("the numbers are 1 at first, so nothing changes. They can be merged into the rows of W")
    return c


def peft_counts(layers: int, width: int, inner: int, vocabulary: int, rank: int, places: int) -> dict[str, int]:
    """How many numbers each method trains, in a decoder without biases with an LM head of its own."""
    c = width
    return {
        "full tuning": layers * (4 * c * c + 2 * c * inner) + 2 * vocabulary * c,
        "adapter": layers * 2 * (2 * c * rank + rank + c),
        "LoRA": layers * rank * (4 * 2 * c + 2 * (c + inner)),
        "prefix": layers * 2 * places * c,
        "IA3": layers * (2 * c + inner),
        "prompt": places * c,
    }


@diagram
def trained_share(
    layers: int = 4, width: int = 128, inner: int = 256, vocabulary: int = 2048, rank: int = 8, places: int = 16
) -> Canvas:
    """How many numbers each method trains, by the shape of the model alone."""
    counts = peft_counts(layers, width, inner, vocabulary, rank, places)
    full = counts["full tuning"]
    c = Canvas(
        "How many numbers learn?",
        f"Bars for a model of {layers} layers and {width} channels: "
        + ", ".join(f"{name} {n:,}" for name, n in counts.items()) + ".",
    )  # fmt: skip
    shares = [n / full for n in counts.values()]
    lying_bars(c, c.y + 6, [s**0.5 for s in shares], list(counts), x=90, width=170, fills=["grey"] + ["orange"] * 5,
               forms=[f"{n:,}: {100 * s:.3g} %" for n, s in zip(counts.values(), shares)])  # fmt: skip
    c.note(f"lengths go with the square root. L {layers}, C {width}, V {vocabulary:,}; rank or bottleneck {rank}, "
           f"{places} places")  # fmt: skip
    return c


@diagram
def training_memory(weights: float = 1.3e6, trained: float = 0.04e6, activations: float | None = None) -> Canvas:
    """What a training step holds: weights, gradients, optimizer, activations.

    Args:
        weights, trained: how many numbers there are, and how many an adapter trains; activations: megabytes, if known.
    """
    mega = 4 / 1e6
    rows = (
        ("full tuning", weights * mega, weights * mega, 2 * weights * mega),
        ("LoRA", (weights + trained) * mega, trained * mega, 2 * trained * mega),
    )
    c = Canvas(
        "What a training step holds in memory",
        "Stacked bars in megabytes. " + "; ".join(
            f"{name}: weights {a:.1f}, gradients {b:.1f}, AdamW {d:.1f}"
            for name, a, b, d in rows) + ".",
    )  # fmt: skip
    unit = 220 / max(sum(row[1:]) for row in rows)
    for i, (name, *parts) in enumerate(rows):
        y, x = c.y + 8 + 62 * i, 96
        c.text(88, y + 13, name, anchor="end", bold=True)
        for value, fill in zip(parts, ("grey", "sky", "orange")):
            c.box(x, y, max(unit * value, 1), 26, f"{value:.1f}" if unit * value > 30 else "", fill)
            x += unit * value
        c.text(x + 6, y + 13, f"{sum(parts):.1f} MB", anchor="start")
        c.text(
            96,
            y + 39,
            "and the activations" + (f": {activations:.0f} MB" if activations else ""),
            anchor="start",
            ink="muted",
        )
    legend(c, [("grey", "weights"), ("sky", "gradients"), ("orange", "AdamW's m and v")])
    c.note("PEFT saves gradients and optimizer state, not activations: the backward pass still goes through the model")
    return c


@diagram
def learned_against_kept(points: dict[str, tuple[float, float]] | None = None) -> Canvas:
    """The Pareto front: whatever no other beats in both.

    Args:
        points: for each method, what it learned and what it kept, both in [0, 1] and larger is better.
    """
    points = points or {"A": (0.9, 0.3), "B": (0.8, 0.6), "C": (0.6, 0.5), "D": (0.5, 0.85), "E": (0.3, 0.8)}
    front = [n for n, (x, y) in points.items()
             if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points.values())]  # fmt: skip
    front.sort(key=lambda name: points[name])
    c = Canvas(
        "The Pareto front: what no other beats",
        f"Points of {len(points)} methods, new score to the right and what is kept upwards; {', '.join(front)} are on "
        "the front, the others are beaten in both.",
    )
    axes = Axes(c, 40, c.y + 6, 320, 150, (0, 1), (0, 1.05), "new score", "old score kept")
    steps = [axes(*points[front[0]])]
    for name in front[1:]:
        x, y = axes(*points[name])
        steps += [(steps[-1][0], y), (x, y)] if y < steps[-1][1] else [(x, y)]
    c.line(*steps, ink="green line", thick=2, dash=True, curve=True)
    for name, point in points.items():
        x, y = axes(*point)
        c.dot(x, y, 5, "green line" if name in front else "grey line")
        c.text(x + 9, y - 9, name, anchor="start", bold=name in front)
    c.note("each method with its best rate, chosen on the same thing; a beaten method has another up and to the right")
    return c
