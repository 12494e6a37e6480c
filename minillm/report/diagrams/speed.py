"""Speed and scale: rooflines, number formats, operations, scaling laws, quantization, speculative decoding."""

import math
from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import Axes, cells, legend, lying_bars, standing_bars, tokens
from minillm.report.diagrams.style import width_of


@diagram
def roofline(peak: float = 100.0, bandwidth: float = 10.0, kernels: dict[str, float] | None = None) -> Canvas:
    """The roofline: memory limits what does little with each byte, arithmetic the rest.

    Args:
        peak: in Gflop/s; bandwidth: in GB/s; kernels: operations per byte of some kernels.
    """
    kernels = kernels or {"addition": 0.25, "norm": 2.0, "matrix product": 40.0}
    knee = peak / bandwidth
    c = Canvas(
        "The roofline: what limits a kernel?",
        f"A line rises with operations per byte, until it meets the peak of {peak:g} Gflop/s at {knee:g} per byte. "
        + "; ".join(f"{name} can reach {min(peak, bandwidth * a):g}" for name, a in kernels.items()) + " Gflop/s.",
    )  # fmt: skip
    low, high = min(0.1, *kernels.values()), max(100.0, *kernels.values())
    axes = Axes(c, 36, c.y + 6, 330, 130, (low, high), (bandwidth * low, 2.5 * peak), "operations per byte", log=True)
    axes.curve(lambda a: min(peak, bandwidth * a), low, high)
    at = axes(knee, peak)
    c.line(at, (at[0], axes.frame.bottom), dash=True)
    c.text(at[0] + 6, axes.frame.bottom - 10, f"knee: {knee:g}", anchor="start")
    c.text(axes.frame.right, at[1] - 14, f"peak {peak:g} Gflop/s", anchor="end")
    c.text(at[0] - 50, at[1] - 2, f"{bandwidth:g} GB/s", anchor="end", ink="muted")
    for name, a in kernels.items():
        x, y = axes(a, min(peak, bandwidth * a))
        c.dot(x, y, 4.5, "red line")
        c.text(min(x + 8, 384 - width_of(name, 12)), min(y + 16, axes.frame.bottom - 9), name, anchor="start")
    c.note("left of the knee a kernel waits for memory: join it with others; right of it, it computes at full rate")
    return c


@diagram
def number_formats() -> Canvas:
    """Bits of fp32, bf16 and fp16: sign, exponent (range) and mantissa (digits)."""
    formats = (("fp32", 8, 23), ("bf16", 8, 7), ("fp16", 5, 10))
    largest = {name: (2 - 2.0**-m) * 2.0 ** (2 ** (e - 1) - 1) for name, e, m in formats}
    c = Canvas(
        "Half the bits: range or digits",
        "Three bars of bits. "
        + "; ".join(f"{name}: 1 sign bit, {e} of exponent, {m} of mantissa, largest number {largest[name]:.3g}"
                    for name, e, m in formats) + ".",
    )  # fmt: skip
    side = 10
    for i, (name, exponent, mantissa) in enumerate(formats):
        y = c.y + 8 + 58 * i
        c.text(MARGIN, y + 12, name, anchor="start", bold=True)
        x = 62
        for bits, fill in ((1, "grey"), (exponent, "orange"), (mantissa, "sky")):
            c.box(x, y, side * bits, 24, str(bits) if bits > 1 else "", fill)
            x += side * bits
        digits = (mantissa + 1) * math.log10(2)
        c.text(62, y + 36, f"up to {largest[name]:.3g}, about {digits:.1f} decimal digits", anchor="start", ink="muted")
    legend(c, [("grey", "sign"), ("orange", "exponent: the range"), ("sky", "mantissa: the digits")])
    return c


@diagram
def matrix_product_cost(rows: int = 3, inner: int = 4, columns: int = 2) -> Canvas:
    """How many operations a product of two matrices takes."""
    flops = 2 * rows * inner * columns
    c = Canvas(
        "Counting: a matrix product costs 2 R K M",
        f"A matrix of {rows} × {inner} times one of {inner} × {columns} gives {rows * columns} numbers; each is a sum "
        f"of {inner} products, together {flops} operations.",
    )
    side, top = 24, c.y + 34
    middle = top + side * max(rows, inner) / 2
    x = 30
    for r, k, name, fill in ((rows, inner, "(R, K)", "row"), (inner, columns, "(K, M)", "column"),
                             (rows, columns, "(R, M)", "one")):  # fmt: skip
        lit = {"row": lambda i, j: i == 0, "column": lambda i, j: j == 0, "one": lambda i, j: i == j == 0}[fill]
        fills = [["orange" if lit(i, j) else "plain" for j in range(k)] for i in range(r)]
        cells(c, x, middle - side * r / 2, [[""] * k] * r, side, side, fills=fills)
        c.text(x + side * k / 2, top - 14, f"{name}")
        x += side * k + 18
        if fill != "one":
            c.text(x, middle, "×" if fill == "row" else "=", 16)
            x += 18
    c.note(f"each result: {inner} products, {inner} additions. Together 2 · {rows} · {inner} · {columns} = {flops} "
           "operations. Training costs about 6 for each weight and token: 2 forward, 4 backward")  # fmt: skip
    return c


@diagram
def power_law(scale: float = 20.0, power: float = 0.35, floor: float = 0.5,
              sizes: Sequence[float] = (1e4, 1e5, 1e6, 1e7)) -> Canvas:  # fmt: skip
    """A power law is a straight line on logarithmic axes, once the floor is subtracted."""
    c = Canvas(
        "A power law: straight on logarithmic axes",
        f"Two curves of loss by size, both axes logarithmic: E + A / N^a bends towards the floor E = {floor:g}; "
        f"without E it is a straight line of slope −{power:g}.",
    )
    lowest, highest = scale * sizes[-1] ** -power, floor + scale * sizes[0] ** -power
    axes = Axes(c, 36, c.y + 8, 300, 140, (sizes[0] / 2, sizes[-1] * 2), (lowest / 2, highest * 2), "", log=True)
    axes.curve(lambda n: floor + scale * n**-power, sizes[0] / 2, sizes[-1] * 2)
    axes.curve(lambda n: scale * n**-power, sizes[0] / 2, sizes[-1] * 2, "red line", dash=True)
    axes.level(floor, "green line")
    for n in sizes:
        c.dot(*axes(n, floor + scale * n**-power))
        c.text(axes(n, 1)[0], axes.frame.bottom + 11, f"{n:.0e}".replace("e+0", "e"))
    c.text(342, axes(1e5, floor)[1] + 8, f"E = {floor:g}", anchor="start")
    c.text(200, axes.frame.y + 8, f"loss = E + {scale:g} / N^{power:g}", anchor="start")
    c.note("solid: the loss; falling, dashed: the loss less E, of slope −a. Left to right: weights N")
    return c


def chinchilla(n: float, d: float, law: tuple[float, float, float, float, float]) -> tuple[float, float, float]:
    """The three parts of a loss: E, A / N^a, B / D^b."""
    e, a, alpha, b, beta = law
    return e, a / n**alpha, b / d**beta


LAW = (1.69, 406.4, 0.34, 410.7, 0.28)  # Hoffmann et al. 2022, equation 10


@diagram
def loss_parts(runs: Sequence[tuple[float, float]] = ((1e8, 2e9), (1e9, 2e10), (1e9, 2e11), (7e10, 1.4e12)),
               law: tuple[float, float, float, float, float] = LAW) -> Canvas:  # fmt: skip
    """The loss as a sum of three parts: what nobody can know, what the size costs, what the data cost."""
    parts = [chinchilla(n, d, law) for n, d in runs]
    c = Canvas(
        "Loss = E + A/N^a + B/D^b",
        "Stacked bars for runs of several sizes: "
        + "; ".join(f"N {n:.0e}, D {d:.0e}: {sum(part):.2f}" for (n, d), part in zip(runs, parts)) + ".",
    )  # fmt: skip
    unit = 190 / max(map(sum, parts))
    c.text(MARGIN, c.y + 8, "weights, tokens", anchor="start", ink="muted")
    for i, ((n, d), part) in enumerate(zip(runs, parts)):
        y, x = c.y + 22 + 30 * i, 128
        c.text(120, y + 10, f"{n:.0e}, {d:.1e}".replace("e+0", "e").replace("e+", "e"), anchor="end")
        for value, fill in zip(part, ("grey", "sky", "orange")):
            c.box(x, y, unit * value, 20, f"{value:.2f}" if unit * value > 28 else "", fill)
            x += unit * value
        c.text(x + 6, y + 10, f"{sum(part):.2f}", anchor="start", bold=True)
    legend(c, [("grey", "E: entropy"), ("sky", "too small"), ("orange", "too few tokens")])
    return c


@diagram
def compute_optimal(computes: Sequence[float] = (1e19, 1e20, 1e21),
                    law: tuple[float, float, float, float, float] = LAW) -> Canvas:  # fmt: skip
    """For each compute budget C = 6 N D there is a best size: too small and too large both lose."""
    _, a, alpha, b, beta = law
    best = [(alpha * a / beta / b) ** (1 / (alpha + beta)) * (f / 6) ** (beta / (alpha + beta)) for f in computes]
    low = [sum(chinchilla(n, f / 6 / n, law)) for n, f in zip(best, computes)]
    c = Canvas(
        "For each budget, one best size",
        "Curves of loss by model size, one for each compute budget, each with a lowest point: "
        + "; ".join(f"{f:.0e} flop: {n:.1e} weights" for f, n in zip(computes, best)) + ".",
    )  # fmt: skip
    axes = Axes(c, 36, c.y + 8, 280, 150, (best[0] / 12, best[-1] * 12), (0.97 * low[-1], 1.16 * low[0]),
                "weights N", log=True)  # fmt: skip
    for f, n, loss, ink in zip(computes, best, low, ("blue line", "red line", "green line") * 3):
        axes.curve(lambda size, f=f: sum(chinchilla(size, f / 6 / size, law)), n / 12, n * 12, ink)
        c.dot(*axes(n, loss), 5, ink)
        c.text(min(axes(n * 12, 1)[0] + 4, 322), axes(n, loss)[1], f"{f:.0e} flop".replace("e+", "e"), anchor="start")
    c.line(*(axes(n, loss) for n, loss in zip(best, low)), dash=True, curve=True)
    c.note("both axes logarithmic. Left of a lowest point the model is too small, right of it it reads too little: "
           f"at {computes[-1]:.0e} flop the best reads {computes[-1] / 6 / best[-1] ** 2:.0f} tokens for each weight"
           .replace("e+", "e"))  # fmt: skip
    return c


@diagram
def quantized_block(values: Sequence[float] = (0.9, -0.4, 0.13, 0.02, -1.1, 0.55, 0.3, -0.7), bits: int = 4) -> Canvas:
    """A block of weights as small integers and one scale."""
    most = 2 ** (bits - 1) - 1
    scale = max(map(abs, values)) / most
    whole = [round(v / scale) for v in values]
    back = [q * scale for q in whole]
    worst = max(abs(a - b) for a, b in zip(values, back))
    c = Canvas(
        f"int{bits}: small integers and one scale",
        f"{len(values)} weights are divided by the scale {scale:.3f} and rounded to integers from −{most} to {most}; "
        f"multiplied back, the largest error is {worst:.3f}.",
    )
    left, wide = 76, 310 / len(values)
    sign = "−"
    for i, (name, row, form, fill) in enumerate((
        ("weight", values, "{:.2f}", "sky"), (f"int{bits}", whole, "{:d}", "orange"), ("back", back, "{:.2f}", "plain"),
    )):  # fmt: skip
        y = c.y + 8 + 36 * i
        c.text(MARGIN, y + 12, name, anchor="start", bold=True)
        cells(c, left, y, [row], wide, 24, form=lambda v, form=form: form.format(v).replace("-", sign), fills=fill)
    c.note(f"scale = largest / {most} = {scale:.4f}; largest error {worst:.3f}, at most half a scale. "
           f"With a scale of 16 bits: {bits} + 16/{len(values)} = {bits + 16 / len(values):g} a weight")  # fmt: skip
    return c


@diagram
def speculative_decoding(draft: Sequence[str] = ("in", "a", "barn", "today"),
                         accepted: int = 2, instead: str = "mill") -> Canvas:  # fmt: skip
    """Speculative decoding: a small model drafts, the large one checks all at once."""
    c = Canvas(
        "Speculative decoding: draft, then check at once",
        f"A small model drafts {len(draft)} tokens. The large one checks them in one pass: {accepted} are accepted, "
        f"the next is replaced by {instead!r}, and the rest is thrown away: {accepted + 1} tokens for one pass.",
    )
    fills = ["green" if i < accepted else "red" if i == accepted else "card" for i in range(len(draft))]
    wide, gap, left = 58, 10, 112
    top = c.y + 6
    c.text(MARGIN, top + 12, "draft model", anchor="start", bold=True)
    row = tokens(c, top, draft, "sky", x=left, width=wide, gap=gap)
    large = c.box(left, top + 48, (wide + gap) * len(draft) - gap, 24, "large model: one pass", "blue")
    c.text(MARGIN, large.cy, "checks", anchor="start", bold=True)
    words = ["yes" if i < accepted else "no" if i == accepted else "unused" for i in range(len(draft))]
    checked = tokens(c, top + 98, words, fills, x=left, width=wide, gap=gap, mono=False,
                     dash=[fill == "card" for fill in fills])  # fmt: skip
    for one, two in zip(row, checked):
        c.arrow(one.s, (one.cx, large.y))
        c.arrow((two.cx, large.bottom), two.n)
    c.text(MARGIN, top + 152, "text", anchor="start", bold=True)
    tokens(c, top + 142, [*draft[:accepted], instead], ["green"] * accepted + ["orange"], x=left, width=wide, gap=gap)
    c.note(
        f"{accepted + 1} tokens for one pass of the large model. The rule of acceptance keeps its distribution exactly"
    )
    return c


@diagram
def distillation() -> Canvas:
    """Distillation: a small model learns the whole distribution of a large one."""
    c = Canvas(
        "Distillation: learn the teacher's probabilities",
        "A text goes into a large frozen teacher and a small student; the student's loss is the divergence between "
        "their two distributions over the next token.",
    )
    top = c.y + 8
    text = c.box(MARGIN, top + 48, 56, 24, "text")
    teacher = c.box(104, top, 92, 44, "teacher\n(frozen)", "plain")
    student = c.box(104, top + 80, 92, 36, "student", "orange", thick=2)
    for box in (teacher, student):
        c.arrow(text.e, (86, text.cy), (86, box.cy), box.w_)
    for box, values, fill in ((teacher, (0.6, 0.3, 0.1), "grey"), (student, (0.8, 0.1, 0.1), "orange")):
        c.arrow(box.e, (224, box.cy))
        standing_bars(c, 230, box.cy + 22, values, (), width=20, gap=3, high=40, largest=0.9, fills=fill, form="")
    loss = c.box(318, top + 42, 68, 36, "KL\ndivergence", "red")
    for box in (teacher, student):
        c.arrow((300, box.cy), (352, box.cy), (352, loss.y if box is teacher else loss.bottom))
    c.arrow((330, loss.bottom), (330, top + 136), (150, top + 136), student.s, ink="red line", dash=True)
    c.text(240, top + 146, "gradient")
    c.note("the teacher's second and third choices teach, too; a label would only name the first")
    return c


@diagram
def model_memory(parameters: float = 135e6, bits: dict[str, float] | None = None) -> Canvas:
    """How many megabytes a model's weights take, by format."""
    bits = bits or {"fp32": 32, "bf16": 16, "int8 (+ scales)": 8.5, "int4 (+ scales)": 4.5}
    sizes = [parameters * b / 8 / 1e6 for b in bits.values()]
    c = Canvas(
        f"{parameters / 1e6:g} million weights, by format",
        "Bars of megabytes: " + ", ".join(f"{name} {size:.0f} MB" for name, size in zip(bits, sizes)) + ".",
    )
    lying_bars(c, c.y + 8, sizes, list(bits), forms="{:.0f} MB", fills=["grey", "blue", "sky", "sky"], x=124, width=196)
    c.note("weights × bits / 8. Training with AdamW needs about four times fp32: weights, gradients, and two numbers "
           "that the optimizer keeps")  # fmt: skip
    return c
