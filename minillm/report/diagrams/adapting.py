"""Fine-tuning, forgetting and parameter-efficient fine-tuning (PEFT): valleys, LoRA, prompts, adapters, costs."""

from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Box, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import Axes, cells, legend, plus, signed


@diagram
def two_valleys(old: float = -1.0, new: float = 1.0, old_steepness: float = 1.0, new_steepness: float = 1.0) -> Canvas:
    """Forgetting: the loss of the old task and of the new one over one weight."""
    best = (old_steepness * old + new_steepness * new) / (old_steepness + new_steepness)

    def loss(x, at, steep):
        return 0.15 + steep * (x - at) ** 2

    c = Canvas(
        "Forgetting: two valleys",
        "Two curves of loss over one weight, each with a lowest point of its own. Tuning on the new task walks from "
        f"old valley into the new one, where the old loss is {loss(new, old, old_steepness):.2f}; between them lies "
        "the best for both.",
    )
    reach = 1.6 * (new - old)
    axes = Axes(c, 30, c.y + 6, 340, 130, (best - reach / 2, best + reach / 2), (0, 4.6), "a weight", "loss")
    for at, steep, ink in ((old, old_steepness, "blue line"), (new, new_steepness, "red line")):
        axes.curve(lambda x, at=at, steep=steep: loss(x, at, steep), best - reach / 2, best + reach / 2, ink,
                   dash=ink == "red line")  # fmt: skip
    start, end, middle = axes(old, 0.15), axes(new, 0.15), axes(best, loss(best, old, old_steepness))
    worse = axes(new, loss(new, old, old_steepness))
    c.arrow((end[0], end[1] - 4), (end[0], worse[1] + 5), ink="blue line", dash=True)
    c.text(start[0], start[1] - 14, "old task")
    c.text(end[0] - 6, end[1] - 24, "new task", anchor="end")
    c.text(worse[0] - 8, worse[1] - 2, "forgotten", anchor="end", bold=True)
    for point, fill in ((start, "blue line"), (end, "red line"), (middle, "green line")):
        c.dot(*point, 5, fill)
    c.text(middle[0], middle[1] - 14, "both")
    c.note("tuning on the new task alone ends in its valley; the old loss has risen. Rehearsal, a penalty or a small "
           "rate stop between them")  # fmt: skip
    return c


@diagram
def rehearsal(batch: int = 8, share: float = 0.25) -> Canvas:
    """Rehearsal: a share of old examples in each batch."""
    old = round(batch * share)
    c = Canvas(
        "Rehearsal: old examples among the new",
        f"Two sources, old and new examples, flow into one batch of {batch}: {old} old ones and {batch - old} new; the "
        "loss is their mean.",
    )
    top = c.y + 8
    one = c.box(MARGIN, top, 96, 34, "old examples", "blue")
    two = c.box(MARGIN, top + 58, 96, 34, "new examples", "orange")
    side = 200 / batch
    fills = ["blue"] * old + ["orange"] * (batch - old)
    row = cells(c, 170, top + 33, [["" for _ in fills]], side, 26, fills=[fills])[0]
    c.arrow(one.e, (170 + side * old / 2, one.cy), (170 + side * old / 2, row[0].y))
    x = 170 + side * (old + batch) / 2
    c.arrow(two.e, (x, two.cy), (x, row[0].bottom))
    c.text(270, top + 16, f"a batch: {old} old, {batch - old} new", anchor="middle" if old < 3 else "start")
    c.note(f"a share of {share:.0%} costs that much more time; what is rehearsed is not forgotten")
    return c


@diagram
def penalties(weights: Sequence[float] = (0.8, -0.3, 0.5), start: Sequence[float] = (0.5, -0.5, 0.5),
              importance: Sequence[float] = (4.0, 0.5, 1.0), strength: float = 1.0) -> Canvas:  # fmt: skip
    """L2-SP pulls every weight back alike, EWC the important ones more."""
    moved = [w - s for w, s in zip(weights, start)]
    flat = [strength * m * m / 2 for m in moved]
    ewc = [strength * f * m * m / 2 for f, m in zip(importance, moved)]
    c = Canvas(
        "Penalties: a spring to where training began",
        f"A table of {len(weights)} weights. L2-SP adds the squared change of each, together {sum(flat):.3f}; EWC "
        f"multiplies each by its importance first, together {sum(ewc):.3f}.",
    )
    rows = [list(weights), list(start), list(importance), flat, ewc]
    names = ("weight now", "at the start", "importance F", "L2-SP", "EWC")
    for i, (name, row) in enumerate(zip(names, rows)):
        y = c.y + 6 + 30 * i
        c.text(MARGIN, y + 12, name, anchor="start", bold=i > 2)
        cells(c, 118, y, [row], 60, 24, form=lambda v, i=i: signed(v, 3 if i > 2 else 1),
              fills=("plain", "plain", "sky", "orange", "orange")[i])  # fmt: skip
        if i > 2:
            c.text(118 + 60 * len(row) + 10, y + 12, f"sum {sum(row):.3f}", anchor="start", bold=True)
    c.note("L2-SP: λ/2 · (w − w₀)².  EWC: F · λ/2 · (w − w₀)², with F the squared gradient on the old task: how "
           "much it minds a change")  # fmt: skip
    return c


@diagram
def forgetting_matrix(tasks: Sequence[str] = ("A", "B", "C"), optima: Sequence[Sequence[float]] = (
        (1.0, 0.0), (0.0, 1.0), (-1.0, 0.5)), share: float = 0.8) -> Canvas:  # fmt: skip
    """Tasks learned one after another: a row for what was just learned, a column for what is measured."""
    at, rows = [0.0, 0.0], []
    for goal in optima:
        at = [a + share * (g - a) for a, g in zip(at, goal)]
        rows.append([sum((a - o) ** 2 for a, o in zip(at, other)) for other in optima])
    c = Canvas(
        "A forgetting matrix: what is lost on the way",
        f"A table of losses, a row after learning each of the tasks {', '.join(tasks)} in turn, a column for each task "
        f"measured; the loss of {tasks[0]} goes from {rows[0][0]:.2f} to {rows[-1][0]:.2f}.",
    )
    c.text(150 + 35 * len(tasks), c.y + 6, "loss on", ink="muted")
    table = cells(c, 150, c.y + 32, rows, 70, 30, form="{:.2f}", rows=[f"after {t}" for t in tasks], columns=tasks)
    for i in range(len(tasks)):
        c.rect(*table[i][i], None, edge="red line", thick=2)
    c.note("framed: just learned. Read a column downwards: what becomes of a task while others are learned")
    return c


@diagram
def lora_shapes(out: int = 128, into: int = 128, rank: int = 4) -> Canvas:
    """LoRA: beside a frozen matrix two thin ones, whose product is added."""
    full, thin = out * into, rank * (out + into)
    c = Canvas(
        "LoRA: two thin matrices beside a frozen one",
        f"The input x goes through the frozen matrix W of {out} × {into}, beside it through A ({rank} × {into}) and B "
        f"({out} × {rank}); the sum is the output. {thin:,} of {full:,} numbers learn.",
    )
    top = c.y + 10
    c.text(150, top + 198, "x", 14, bold=True)
    c.box(40, top + 56, 96, 96, f"W\n{out} × {into}\nfrozen", "plain")
    c.polygon(((190, top + 152), (330, top + 152), (290, top + 110), (230, top + 110)), "orange")
    c.polygon(((230, top + 98), (290, top + 98), (330, top + 56), (190, top + 56)), "orange")
    for y, label in ((134, f"A  {rank} × {into}"), (74, f"B  {out} × {rank}")):
        c.fills.append((Box(190, top + y - 12, 140, 24), "orange"))
        c.text(260, top + y, label)
    plus(c, 150, top + 22)
    c.arrow((150, top + 188), (150, top + 172), (88, top + 172), (88, top + 152))
    c.arrow((150, top + 172), (260, top + 172), (260, top + 152))
    c.arrow((260, top + 110), (260, top + 98))
    c.arrow((88, top + 56), (88, top + 22), (142, top + 22))
    c.arrow((260, top + 56), (260, top + 22), (158, top + 22))
    c.text(272, top + 34, "× alpha / r", anchor="start")
    c.arrow((150, top + 14), (150, top - 4))
    c.note(f"h = W x + (alpha / r) · B A x.  B is 0 at first, so nothing changes. Learned: {thin:,} of {full:,} "
           f"numbers, {thin / full:.2%}")  # fmt: skip
    return c


@diagram
def lora_merge(weight: Sequence[Sequence[float]] | None = None, b: Sequence[float] = (1.0, 0.0, -1.0, 2.0),
               a: Sequence[float] = (0.5, 0.0, 1.0, -0.5), scale: float = 1.0) -> Canvas:  # fmt: skip
    """A rank-1 change of a 4 x 4 matrix, by hand: W + B A."""
    n, m = len(b), len(a)
    weight = weight or [[float(i == j) for j in range(m)] for i in range(n)]
    change = [[scale * x * y for y in a] for x in b]
    merged = [[weight[i][j] + change[i][j] for j in range(m)] for i in range(n)]
    c = Canvas(
        "Merging: the product is added to the weights",
        f"Column B of {n} numbers times row A of {m} gives a {n} × {m} matrix of rank 1; added to W it gives the "
        "merged matrix, of the same size as before.",
    )
    wide, high, top = min(30, 108 / m), 22, c.y + 26

    def table(x, y, values, name, fill=None):
        cells(c, x, y, values, wide, high, form=lambda v: f"{v + 0.0:g}".replace("-", "−"), fills=fill)
        c.text(x + wide * len(values[0]) / 2, y - 10, name, ink="muted")
        return x + wide * len(values[0])

    middle = top + high * n / 2
    right = table(40, top, [[v] for v in b], "B", "orange")
    c.text(right + 14, middle, "×", 15)
    right = table(right + 28, middle - high / 2, [a], "A", "orange")
    c.text(right + 14, middle, "=", 15)
    table(right + 28, top, change, "B A, of rank 1")
    top += high * n + 36
    middle, right = top + high * n / 2, MARGIN
    for values, name, fill, sign in (
        (weight, "W", "plain", "+"),
        (change, "B A", None, "="),
        (merged, "merged", None, ""),
    ):
        right = table(right, top, values, name, fill)
        if sign:
            c.text(right + 12, middle, sign, 15)
            right += 24
    c.note(f"{n + m} numbers steer {n * m}. Merged, the model is as fast as before; to unmerge, W is put back")
    return c


@diagram
def adapters_switched(names: Sequence[str] = ("questions", "letters", "clinic")) -> Canvas:
    """One base in memory, many small adapters, switched."""
    c = Canvas(
        "One base, many adapters",
        f"One frozen base model in the middle; {len(names)} small adapters, {', '.join(names)}, of which one is "
        "connected at a time.",
    )
    top = c.y + 8
    base = c.box(MARGIN, top + 8, 150, 34 * len(names), "base model\nfrozen, loaded once", "plain")
    for i, name in enumerate(names):
        y = top + 10 + 36 * i
        box = c.box(258, y, 120, 26, name, "orange" if i == 0 else "card", dash=i > 0)
        c.line((base.right, box.cy), box.w_, ink="orange line" if i == 0 else "line", thick=3 if i == 0 else 1,
               dash=i > 0)  # fmt: skip
    c.note("an adapter is a file of some kilobytes; with all switched off the base is back, bit for bit")
    return c


@diagram
def adalora_ranks(values: dict[str, Sequence[float]] | None = None, budget: int = 6) -> Canvas:
    """AdaLoRA: one budget of ranks for all matrices; the least important singular values are cut."""
    values = values or {
        "Q": (0.5, 0.2, 0.1),
        "V": (0.9, 0.6, 0.3),
        "MLP up": (0.7, 0.4, 0.05),
        "MLP down": (0.3, 0.1, 0.02),
    }
    ranked = sorted(((v, name, i) for name, row in values.items() for i, v in enumerate(row)), reverse=True)
    kept = {(name, i) for _, name, i in ranked[:budget]}
    c = Canvas(
        f"AdaLoRA: {budget} ranks, where they matter most",
        "For each matrix a row of singular values; of all, the largest are kept: "
        + ", ".join(f"{name} keeps {sum(owner == name for owner, _ in kept)}" for name in values)
        + ".",
    )
    for j, (name, row) in enumerate(values.items()):
        y = c.y + 8 + 30 * j
        c.text(88, y + 12, name, anchor="end", bold=True)
        for i, v in enumerate(row):
            keep = (name, i) in kept
            c.box(98 + 56 * i, y, 50, 24, f"{v:g}", "orange" if keep else "card", dash=not keep)
        count = sum((name, i) in kept for i in range(len(row)))
        c.text(98 + 56 * len(row) + 10, y + 12, f"rank {count}", anchor="start")
    legend(c, [("orange", "kept"), ("~card", "cut to 0")])
    c.note("the change is P · diag(E) · Q; plain LoRA would give every matrix the same rank")
    return c
