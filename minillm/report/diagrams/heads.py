"""Heads and transfer: one trunk for many tasks, pooling, tags, contrast, and what learns in fine-tuning."""

import math
from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import around, brace, cells, legend, stack, tokens


@diagram
def heads_on_a_trunk() -> Canvas:
    """One trunk, many heads: each reads other vectors and has another loss."""
    heads = (
        ("LM head", "every token", "(B, T, V)", "green"),
        ("tag head", "every token", "(B, T, K)", "orange"),
        ("class head", "pooled", "(B, K)", "pink"),
        ("encode", "pooled", "(B, C)", "sky"),
    )
    c = Canvas(
        "One trunk, a head for every task",
        "Below, one transformer trunk makes hidden vectors (B, T, C). Above it four heads: "
        + ", ".join(f"{name} reads {what} and gives {shape}" for name, what, shape, _ in heads) + ".",
    )  # fmt: skip
    top = c.y + 6
    trunk = c.box(MARGIN, top + 108, 372, 30, "trunk: transformer, pre-trained", "blue")
    for i, (name, what, shape, fill) in enumerate(heads):
        x = MARGIN + 95 * i
        c.text(x + 43, top + 8, shape)
        box = c.box(x, top + 22, 87, 26, name, fill, bold=True)
        c.arrow((box.cx, trunk.y), box.s)
        c.text(x + 43, top + 78, what, ink="muted", opaque=True)
    ids = c.box(150, top + 166, 100, 24, "ids (B, T)", "plain")
    c.arrow(ids.n, trunk.s)
    c.note("a head is small, often one linear layer; V tokens, K classes, C channels")
    return c


@diagram
def pooling(values: Sequence[float] = (0.2, 0.9, 0.4, 0.6)) -> Canvas:
    """From the vectors of a text to one: first (CLS), last, or mean."""
    mean = sum(values) / len(values)
    c = Canvas(
        "Pooling: many vectors, one text",
        f"Vectors of {len(values)} positions, of which one channel is shown: CLS takes the first, {values[0]:g}; last "
        f"takes {values[-1]:g}; the mean is {mean:.3g}.",
    )
    top, n = c.y + 6, len(values)
    for name, used, result, who in (
        ("CLS", {0}, values[0], "encoder"), ("last", {n - 1}, values[-1], "decoder"),
        ("mean", set(range(n)), mean, "either"),
    ):  # fmt: skip
        row = cells(c, 70, top, [values], 46, 24, form="{:g}", fills=[["orange" if i in used else "card"
                                                                        for i in range(n)]])[0]  # fmt: skip
        c.text(MARGIN, top + 12, name, anchor="start", bold=True)
        out = c.box(row[-1].right + 30, top, 50, 24, f"{result:.3g}", "green")
        c.arrow(row[-1].e, out.w_)
        c.text(out.right + 8, top + 12, who, anchor="start", ink="muted")
        top += 36
    c.note("a causal trunk has read everything only at its last token; an encoder reads everything at each")
    return c


@diagram
def bio_tags(words: Sequence[str] = ("Old", "Tom", "Reed", "met", "an", "owl"),
             tags: Sequence[str] = ("O", "B-PER", "I-PER", "O", "O", "B-ANI")) -> Canvas:  # fmt: skip
    """Tags of words: B begins a name, I continues it, O is outside."""
    spans, start = [], None
    for i, tag in enumerate([*tags, "O"]):
        if start is not None and not tag.startswith("I"):
            spans.append((start, i))
            start = None
        if tag.startswith("B"):
            start = i
    c = Canvas(
        "Tags: B begins, I continues, O is outside",
        "Words with their tags: " + ", ".join(f"{w} {t}" for w, t in zip(words, tags)) + ". Braces join the tags of "
        "one entity.",
    )
    wide = 356 / len(words) - 6
    fills = {"B": "orange", "I": "orange", "O": "plain"}
    row = tokens(c, c.y + 8, words, "sky", width=wide, gap=6, mono=False)
    below = tokens(c, c.y + 40, tags, [fills[tag[0]] for tag in tags], width=wide, gap=6, mono=False)
    for a, b in zip(row, below):
        c.line(a.s, b.n)
    for a, b in spans:
        brace(c, below[a].x, below[b - 1].right, below[0].bottom + 4, " ".join(words[a:b]))
    c.note("a name counts as found only if all of its words, and its kind, are right: entity F1")
    return c


@diagram
def in_batch_negatives(similarity: Sequence[Sequence[float]] = ((0.9, 0.2, 0.1), (0.3, 0.8, 0.2), (0.1, 0.4, 0.7)),
                       temperature: float = 0.2) -> Canvas:  # fmt: skip
    """Contrastive learning: the diagonal is right, all else in the batch is wrong."""
    n = len(similarity)
    chances = []
    for row in similarity:
        raised = [math.exp(v / temperature) for v in row]
        chances.append([v / sum(raised) for v in raised])
    loss = -sum(math.log(chances[i][i]) for i in range(n)) / n
    c = Canvas(
        "Contrastive learning: find your partner",
        f"A {n} × {n} table of cosines between texts and their paraphrases; a softmax over each row should choose the "
        f"diagonal, and the loss, the mean of −ln of it, is {loss:.3f}.",
    )
    names = [f"text {i + 1}" for i in range(n)]
    columns = [f"{i + 1}′" for i in range(n)]
    left = cells(c, 66, c.y + 40, similarity, 40, 26, form="{:.1f}", rows=names, columns=columns, largest=1)
    right = cells(c, 66 + 40 * n + 60, c.y + 40, chances, 46, 26, form="{:.2f}", columns=columns, largest=1)
    c.text(around(left[0]).cx, c.y + 10, "cosine", ink="muted")
    c.text(around(right[0]).cx, c.y + 10, f"softmax(cosine / {temperature:g})", ink="muted")
    for i in range(n):
        for table in (left, right):
            c.rect(*table[i][i], None, edge="red line", thick=2)
    c.arrow((around(left[1]).right + 10, left[1][0].cy), (right[1][0].x - 10, left[1][0].cy))
    c.note(f"loss = mean of −ln(diagonal) = {loss:.3f}; the other texts of the batch are the wrong answers")
    return c


@diagram
def starting_points() -> Canvas:
    """Three ways to a classifier: from scratch, frozen trunk, full fine-tuning."""
    c = Canvas(
        "Three ways to use a trunk",
        "Three stacks of a trunk and a head. From scratch: random trunk, all learns. Frozen: pre-trained trunk, only "
        "the head learns. Fine-tuning: pre-trained trunk, all learns.",
    )
    for i, (name, trunk, fills) in enumerate((
        ("from scratch", "trunk\n(random)", ("orange", "orange")),
        ("frozen", "trunk\n(pre-trained)", ("plain", "orange")),
        ("fine-tuning", "trunk\n(pre-trained)", ("orange", "orange")),
    )):  # fmt: skip
        x = MARGIN + 128 * i
        c.text(x + 58, c.y + 8, name, bold=True)
        stack(c, x, c.y + 22, 116, [(trunk, fills[0]), ("head (random)", fills[1])], high=40)
    legend(c, [("orange", "learns"), ("plain", "frozen")])
    c.note("few labels: the pre-trained ones win. Many labels: the gap closes")
    return c


@diagram
def transfer() -> Canvas:
    """Pre-train once on much text, fine-tune many times on few labels."""
    c = Canvas(
        "Pre-train once, fine-tune often",
        "A flow from much unlabelled text through pre-training to a trunk, from which three arrows lead to fine-tuned "
        "models, each with a few labels of its own task.",
    )
    top = c.y + 8
    text = c.box(MARGIN, top + 40, 92, 44, "much text\nno labels", "grey")
    trunk = c.box(150, top + 40, 92, 44, "pre-trained\ntrunk", "blue")
    c.arrow(text.e, trunk.w_)
    for i, (name, labels) in enumerate((("sentiment", "100 labels"), ("tags", "300 labels"), ("pairs", "500 labels"))):
        box = c.box(292, top + 46 * i, 94, 36, f"{name}\n{labels}", "orange")
        c.arrow(trunk.e, (268, trunk.cy), (268, box.cy), box.w_)
    c.text((text.right + 150) / 2, top + 26, "dear, once", ink="muted")
    c.text(230, top + 124, "cheap, often", ink="muted")
    return c


@diagram
def layer_rates(layers: int = 4, rate: float = 0.001, decay: float = 2.6) -> Canvas:
    """Discriminative learning rates: the lower a layer, the smaller its rate (ULMFiT)."""
    rates = [rate / decay ** (layers - 1 - i) for i in range(layers)]
    c = Canvas(
        "Lower layers learn more slowly",
        f"A stack of {layers} layers with a learning rate each, from {rates[-1]:.2g} at the top down to {rates[0]:.2g} "
        f"at the bottom, each divided by {decay:g}.",
    )
    names = [(f"layer {i + 1}", "sky") for i in range(layers)] + [("head", "orange")]
    boxes = stack(c, 40, c.y + 6, 110, names, high=24, gap=12)
    for box, value in zip(boxes, [*rates, rate]):
        c.rect(176, box.y + 4, 130 * value / rate, 16, "blue", edge="line", round=1)
        c.text(182 + 130 * value / rate, box.cy, f"{value:.2g}", anchor="start")
    c.note(f"each layer has the rate of the one above, divided by {decay:g} (Howard and Ruder 2018): what is general "
           "stands below, and should stay")  # fmt: skip
    return c
