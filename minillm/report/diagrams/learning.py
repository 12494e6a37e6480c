"""Pre-training and generation: shift, sampling, beams, early stopping, optimizers, schedules, batches."""

import math
from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import Axes, brace, cells, legend, softmax, standing_bars, tokens


@diagram
def shift(words: Sequence[str] = ("the", "owl", "slept", "in", "it")) -> Canvas:
    """Next-token prediction: the labels are the inputs, moved by one place."""
    c = Canvas(
        "The label of a token is the next token",
        f"The tokens {' '.join(words)!r} as inputs in a row, and below each the token after it as its label; a text of "
        f"{len(words)} tokens gives {len(words) - 1} examples.",
    )
    wide, gap, left = 52, 8, 88
    top = c.y + 6
    row = tokens(c, top, words, "sky", x=left, width=wide, gap=gap)
    labels = tokens(c, top + 56, [*words[1:], "–"], ["green"] * (len(words) - 1) + ["card"], x=left, width=wide,
                    gap=gap, dash=[False] * (len(words) - 1) + [True])  # fmt: skip
    c.text(MARGIN, row[0].cy, "input", anchor="start", bold=True)
    c.text(MARGIN, labels[0].cy, "label", anchor="start", bold=True)
    for upper, lower in zip(row[:-1], labels):
        c.arrow(upper.s, lower.n)
    c.text(left + 2, labels[0].bottom + 16, f"{len(words) - 1} examples from one text of {len(words)} tokens",
           anchor="start")  # fmt: skip
    c.note(
        "“–”: nothing follows, so it is ignored. All labels are learned at once, since no position sees to the right"
    )
    return c


def filtered(logits: Sequence[float], temperature: float, top_k: int, top_p: float) -> dict[str, list[float]]:
    """The probabilities after each way of changing a distribution, renormalised."""
    plain = softmax(logits)
    order = sorted(range(len(logits)), key=lambda i: -plain[i])
    kept, total = [], 0.0
    for i in order:
        kept.append(i)
        total += plain[i]
        if total >= top_p:
            break

    def only(places):
        mass = sum(plain[i] for i in places)
        return [plain[i] / mass if i in places else 0.0 for i in range(len(logits))]

    return {
        "as it is": plain,
        f"temperature {temperature:g}": softmax(logits, temperature),
        f"top-k, k = {top_k}": only(order[:top_k]),
        f"top-p, p = {top_p:g}": only(kept),
    }


@diagram
def sampling_filters(
    words: Sequence[str] = ("mill", "barn", "sea", "hut", "soup"), logits: Sequence[float] = (2.2, 1.8, 1.0, 0.4, -1.0),
    temperature: float = 0.5, top_k: int = 2, top_p: float = 0.9,
) -> Canvas:  # fmt: skip
    """Temperature, top-k and top-p on one distribution."""
    panels = filtered(logits, temperature, top_k, top_p)
    c = Canvas(
        "Before sampling: sharpen, or cut the tail",
        "Four bar charts of the same five tokens. "
        + "; ".join(f"{name}: {', '.join(f'{p:.2f}' for p in values)}" for name, values in panels.items()) + ".",
    )  # fmt: skip
    most = max(max(values) for values in panels.values())
    for index, (name, values) in enumerate(panels.items()):
        x, y = 18 + 190 * (index % 2), c.y + 118 + 136 * (index // 2)
        c.text(x + 86, y - 104, name, bold=True)
        standing_bars(c, x, y, values, words, width=30, gap=5, high=66, largest=most,
             fills=["sky" if value else "card" for value in values])  # fmt: skip
        for i, value in enumerate(values):
            if not value:
                c.text(x + 35 * i + 15, y - 9, "cut", ink="muted")
    c.note("a temperature below 1 sharpens, above 1 flattens; what top-k and top-p keep is divided by its sum")
    return c


@diagram
def beam_search(
    first: dict[str, float] | None = None, second: dict[str, dict[str, float]] | None = None, beams: int = 2
) -> Canvas:
    """Beam search as a tree: the best few texts are kept at each step, and greedy can miss the best."""
    first = first or {"the": 0.5, "a": 0.4, "his": 0.1}
    second = second or {"the": {"owl": 0.4, "fox": 0.35}, "a": {"bird": 0.9, "fox": 0.1}, "his": {"hat": 1.0}}
    kept = sorted(first, key=first.get, reverse=True)[:beams]
    ends = {(a, b): first[a] * p for a in first for b, p in second[a].items()}
    reached = {pair: p for pair, p in ends.items() if pair[0] in kept}
    best = max(reached, key=reached.get)
    greedy = max((pair for pair in ends if pair[0] == kept[0]), key=ends.get)
    c = Canvas(
        f"Beam search keeps the {beams} best texts",
        f"A tree of two steps. Greedy takes {' '.join(greedy)!r} with probability {ends[greedy]:.2f}; with {beams} "
        f"beams the search finds {' '.join(best)!r} with {reached[best]:.2f}.",
    )
    step, y, root = 30, c.y + 8, None
    root = c.box(MARGIN, y + step * len(ends) / 2 - 12, 52, 24, "start")
    for a in first:
        mine = [pair for pair in ends if pair[0] == a]
        middle = y + step * len(mine) / 2
        node = c.box(118, middle - 12, 52, 24, a, "sky" if a in kept else "card", mono=True, dash=a not in kept)
        c.line(root.e, (92, root.cy), (92, node.cy), node.w_, dash=a not in kept)
        c.text(144, node.bottom + 9, f"{first[a]:g}", ink="muted")
        for pair in mine:
            fill = "green" if pair == best else "orange" if pair == greedy else "card"
            end = c.box(216, y + 3, 52, 24, pair[1], fill, mono=True, dash=a not in kept)
            c.line(node.e, (192, node.cy), (192, end.cy), end.w_, dash=a not in kept)
            shown = f"{first[a]:g} × {second[a][pair[1]]:g} = {ends[pair]:.2f}"
            c.text(276, end.cy, shown if a in kept else "dropped", anchor="start", bold=pair == best)
            y += step
    legend(c, [("green", "best of the beams"), ("orange", "greedy"), ("~card", "dropped")])
    return c


@diagram
def early_stopping(turn: float = 0.45) -> Canvas:
    """Over-fitting, in principle: the training loss falls on, the validation loss turns."""
    c = Canvas(
        "Stop where the validation loss turns",
        "Two curves of loss by step. The training loss falls on; the validation loss falls, reaches its lowest point, "
        "and rises again. A broken line marks the lowest point, where one stops.",
    )
    axes = Axes(c, 30, c.y + 6, 250, 140, (0, 1), (0, 1), "steps", "loss")

    def train(x):
        return 0.12 + 0.75 * math.exp(-4 * x) - 0.08 * x

    def gap(x):
        return 0.06 + 0.75 * (math.exp(-4 * turn) * 4 + 0.08 / 0.75) / (2 * turn) * x * x

    axes.curve(train, 0, 1)
    axes.curve(lambda x: train(x) + gap(x), 0, 1, "red line", dash=True)
    low = axes(turn, train(turn) + gap(turn))
    c.line((low[0], axes.frame.bottom), (low[0], axes.frame.y + 14), dash=True)
    c.dot(*low, fill="red line")
    c.text(low[0] + 6, axes.frame.y + 24, "keep this model", anchor="start", bold=True)
    for x, name, extra in ((1, "validation", gap(1)), (1, "training", 0)):
        c.text(288, axes(x, train(x) + extra)[1], name, anchor="start")
    c.note("a sketch: right of the line the model learns its training texts rather than the language")
    return c


@diagram
def optimizer_memory() -> Canvas:
    """What each optimizer remembers of the gradients, per parameter."""
    rows = (
        ("SGD", "–", "gradient", 0),
        ("momentum", "m", "mean gradient m", 1),
        ("Adam(W)", "m  v", "m / √v", 2),
        ("Muon", "m", "orthogonal m", 1),
    )
    c = Canvas(
        "What does an optimizer remember?",
        "A table: " + "; ".join(f"{name} keeps {n} numbers per parameter and steps along {step}"
                                for name, _, step, n in rows) + ".",
    )  # fmt: skip
    for x, name in ((140, "keeps"), (234, "steps along"), (344, "numbers")):
        c.text(x, c.y + 8, name, ink="muted")
    for i, (name, state, step, count) in enumerate(rows):
        y = c.y + 22 + 32 * i
        c.text(MARGIN, y + 12, name, anchor="start", bold=True)
        c.box(112, y, 56, 24, state, "card" if state == "–" else "orange", dash=state == "–")
        c.text(234, y + 12, step)
        c.text(344, y + 12, f"{count} per weight")
    c.note("m: running mean of the gradients; v: of their squares. AdamW also shrinks the weights a little at each "
           "step: weight decay")  # fmt: skip
    return c


def descend(rate: float, momentum: float, steps: int, start: tuple[float, float], steep: float) -> list:
    """The way of gradient descent in the valley (x² + steep · y²) / 2."""
    (x, y), vx, vy = start, 0.0, 0.0
    path = [(x, y)]
    for _ in range(steps):
        vx, vy = momentum * vx + x, momentum * vy + steep * y
        x, y = x - rate * vx, y - rate * vy
        path.append((x, y))
    return path


@diagram
def valley(rate: float = 0.09, momentum: float = 0.5, steps: int = 14, steep: float = 20.0) -> Canvas:
    """A long valley: plain gradient descent zigzags, momentum averages the zigzag away."""
    start = (-4.0, 1.0)
    plain = descend(rate, 0.0, steps, start, steep)
    heavy = descend(rate, momentum, steps, start, steep)

    def height(point):
        return (point[0] ** 2 + steep * point[1] ** 2) / 2

    c = Canvas(
        "A long valley: zigzag, or momentum",
        f"Two paths of {steps} steps in a narrow valley from the same start. Gradient descent zigzags between the "
        f"walls and ends at height {height(plain[-1]):.2f}; with momentum it ends at {height(heavy[-1]):.2f}.",
    )
    axes = Axes(c, 24, c.y + 6, 352, 120, (-4.6, 1.2), (-1.4, 1.4))
    for level in (0.3, 1.5, 4.0, 8.0):
        rx, ry = math.sqrt(2 * level), math.sqrt(2 * level / steep)
        ring = [axes(rx * math.cos(a * math.pi / 30), ry * math.sin(a * math.pi / 30)) for a in range(61)]
        ring = [point for point in ring if point[0] <= axes.frame.right]
        c.line(*ring, ink="edge", curve=True)
    for path, ink in ((plain, "red line"), (heavy, "blue line")):
        points = [axes(*point) for point in path]
        c.line(*points, ink=ink, thick=1.8, dash=path is plain, curve=True)
        for point in points:
            c.dot(*point, 2.2, ink)
    c.text(axes(*start)[0] + 4, axes(*start)[1] - 10, "start", anchor="start")
    low = axes(0, 0)
    c.dot(*low, 4, "ink")
    c.text(low[0] + 8, low[1] + 16, "minimum", anchor="start")
    legend(c, [("~red", f"gradient descent: {height(plain[-1]):.2f}"), ("blue", f"momentum: {height(heavy[-1]):.2f}")])
    c.note(f"height after {steps} steps at the same rate, {rate:g}: what alternates cancels, what agrees adds up")
    return c


@diagram
def warmup_decay(warmup: int = 100, steps: int = 1000, rate: float = 0.001, last: float = 0.1) -> Canvas:
    """The learning rate over a run: linear warm-up, then cosine decay."""

    def at(step):
        if step < warmup:
            return rate * step / warmup
        share = (step - warmup) / (steps - warmup)
        return rate * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * share)))

    c = Canvas(
        "Warm-up, then decay",
        f"The learning rate rises in a straight line to {rate:g} at step {warmup}, then falls along a cosine to "
        f"{rate * last:g} at step {steps}.",
    )
    axes = Axes(c, 62, c.y + 6, 300, 120, (0, steps), (0, 1.15 * rate), "", "")
    axes.curve(at, 0, steps)
    top, end = axes(warmup, rate), axes(steps, rate * last)
    c.line(top, (top[0], axes.frame.bottom), dash=True)
    c.text(56, top[1], f"{rate:g}", anchor="end")
    c.text(56, end[1], f"{rate * last:g}", anchor="end")
    brace(c, 62, top[0], axes.frame.bottom + 4, f"{warmup}")
    brace(c, top[0], end[0], axes.frame.bottom + 4, f"decay, to step {steps}")
    c.text(200, axes.frame.y + 8, "learning rate", anchor="start", ink="muted")
    c.note(
        "warm-up: the first gradients are large and point anywhere; decay: small steps at the end settle the weights"
    )
    return c


@diagram
def gradient_accumulation(losses: Sequence[float] = (2.0, 1.0, 3.0, 2.0), micro: int = 2) -> Canvas:
    """One large batch, or several small ones whose gradients are added before a step."""
    n = len(losses)
    parts = [losses[i : i + micro] for i in range(0, n, micro)]
    whole = sum(losses) / n
    shares = [sum(part) / n for part in parts]
    c = Canvas(
        "Gradient accumulation: a large batch in small pieces",
        f"{n} examples as one batch with mean loss {whole:g}, and as {len(parts)} pieces of {micro}, each divided by "
        f"{n}; the sum is {sum(shares):g} too, so the gradients agree and there is one step.",
    )
    top, wide = c.y + 8, min(40, 176 / n)
    c.text(MARGIN, top + 12, "one batch", anchor="start", bold=True)
    cells(c, 130, top, [losses], wide, 24, form="{:g}", fills="sky")
    c.text(130 + wide * n + 10, top + 12, f"mean {whole:g}", anchor="start")
    y = top + 44
    c.text(MARGIN, y + 12, f"{len(parts)} pieces", anchor="start", bold=True)
    for i, (part, share) in enumerate(zip(parts, shares)):
        cells(c, 130, y + 34 * i, [part], wide, 24, form="{:g}", fills="orange")
        sum_of = " + ".join(f"{v:g}" for v in part)
        c.text(130 + wide * micro + 10, y + 34 * i + 12, f"({sum_of}) / {n} = {share:g}", anchor="start")
    y += 34 * len(parts)
    c.line((130, y), (370, y))
    c.text(130 + wide * micro + 10, y + 14, f"added: {sum(shares):g}", anchor="start", bold=True)
    c.note("backward after each piece adds to the gradients; the optimizer steps once, after the last piece")
    return c


@diagram
def gradient_clipping(gradient: tuple[float, float] = (3.0, 4.0), limit: float = 1.5) -> Canvas:
    """Clipping by the norm: a long gradient is shortened, its direction stays."""
    norm = math.hypot(*gradient)
    scale = min(1.0, limit / norm)
    short = [g * scale for g in gradient]
    c = Canvas(
        "Clipping shortens a gradient, it does not turn it",
        f"A gradient ({gradient[0]:g}, {gradient[1]:g}) of length {norm:g} leaves a circle of radius {limit:g}; scaled "
        f"by {scale:.2g} it ends on the circle, in the same direction.",
    )
    size = 1.15 * max(norm, limit)
    x, y, unit = 100, c.y + 150, 130 / size
    r = limit * unit
    c.rect(x - r, y - r, 2 * r, 2 * r, None, edge="line", dash=True, round=r)
    c.arrow((x, y), (x + gradient[0] * unit, y - gradient[1] * unit), ink="red line", thick=1.6, dash=True)
    c.arrow((x, y), (x + short[0] * unit, y - short[1] * unit), ink="blue line", thick=3)
    for i, line in enumerate((
        f"g = ({gradient[0]:g}, {gradient[1]:g})", f"length {norm:g}, limit {limit:g}",
        f"scale {limit:g} / {norm:g} = {scale:.2g}", f"clipped: ({short[0]:.2g}, {short[1]:.2g})",
    )):  # fmt: skip
        c.text(216, c.y + 24 + 24 * i, line, anchor="start", bold=i == 3)
    c.note("all parameters together count as one vector; a rare long gradient can no longer throw the model off")
    return c
