"""Examples and heads: what each objective reads and must say, masking, heads on a trunk, transfer."""

import math
from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, WIDTH, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import around, brace, cells, signed, tokens


@diagram
def labels_per_token() -> Canvas:
    """Four objectives with a label for each token: causal, masked, tag, instruct."""
    tasks = (
        ("causal: the next token", "the owl slept .", "owl slept . –"),
        ("masked: what was hidden, at its own place", "the <mask> slept .", "– owl – –"),
        ("tag: the kind of each word", "Mira met an owl", "PERSON O O ANIMAL"),
        ("instruct: the answer only", "who slept? the owl", "– the owl <eos>"),
    )
    c = Canvas(
        "A label for each token: four objectives",
        "Four tables of what is read and what must be predicted: "
        + "; ".join(f"{name}: {read!r} to {say!r}" for name, read, say in tasks) + ". A dash is ignored.",
    )  # fmt: skip
    for name, read, say in tasks:
        c.text(MARGIN, c.y + 6, name, anchor="start", bold=True)
        words = ["who", "slept?", "the", "owl"] if name.startswith("instruct") else read.split()
        labels = ["–", "the", "owl", "<eos>"] if name.startswith("instruct") else say.split()
        for i, (label, row) in enumerate((("reads", words), ("predicts", labels))):
            y = c.y + 20 + 28 * i
            c.text(MARGIN, y + 11, label, anchor="start", ink="muted")
            fills = "sky" if i == 0 else ["card" if word == "–" else "green" for word in row]
            dash = [word == "–" for word in row]
            tokens(c, y, row, fills, x=88, width=66, gap=6, dash=dash)
        c.y += 90
    c.note("“–” is ignored: it adds nothing to the loss")
    return c


@diagram
def labels_per_row() -> Canvas:
    """Four objectives with a label for a whole row, or for two rows: class, pair, encode, prefer."""
    c = Canvas(
        "A label for a row, or for two",
        "Class: one text, one label. Pair: two texts in one row, one label. Encode: two rows whose vectors should be "
        "near. Prefer: one prompt with two answers, of which one was chosen.",
    )
    y = c.y
    for name, rows, label in (
        ("class", [["<cls>", "the owl smiled", "<sep>"]], "glad"),
        ("pair", [["<cls>", "A", "<sep>", "B", "<sep>"]], "B follows"),
        ("encode", [["the owl slept"], ["asleep was the owl"]], "near"),
        ("prefer", [["prompt", "kind answer"], ["prompt", "rude answer"]], "upper > lower"),
    ):
        boxes = []
        for i, row in enumerate(rows):
            boxes += tokens(c, y + 4 + 28 * i, row, ["grey" if w[0] == "<" else "sky" for w in row], x=74, gap=4,
                            mono=False)  # fmt: skip
        whole = around(boxes)
        c.text(MARGIN, whole.cy, name, anchor="start", bold=True)
        out = c.box(WIDTH - MARGIN - 96, whole.cy - 12, 96, 24, label, "green")
        c.arrow((whole.right + 4, whole.cy), out.w_)
        y = whole.bottom + 18
    c.note("grey: special tokens. The loss compares one number (or two vectors) for a row, not one for each token")
    return c


@diagram
def padding_in_the_mean(values: Sequence[float] = (0.8, 0.4, 0.6), pads: int = 2, of_pad: float = -0.5) -> Canvas:
    """A mean over a padded row, with and without the padding."""
    right = sum(values) / len(values)
    wrong = (sum(values) + pads * of_pad) / (len(values) + pads)
    c = Canvas(
        "Padding must not count",
        f"A row of {len(values)} real numbers and {pads} of padding: the mean of the real ones is {right:.2f}, the "
        f"mean over all places {wrong:.2f}.",
    )
    row = [*values, *[of_pad] * pads]
    fills = [["sky"] * len(values) + ["grey"] * pads]
    left, wide = 90, 50
    boxes = cells(c, left, c.y + 10, [row], wide, 26, form=lambda v: signed(v, 1), fills=fills)[0]
    mask = cells(c, left, c.y + 44, [[1] * len(values) + [0] * pads], wide, 22, form="{}", fills="card")[0]
    c.text(MARGIN, boxes[0].cy, "channel", anchor="start")
    c.text(MARGIN, mask[0].cy, "mask", anchor="start")
    brace(c, left, left + wide * len(values), mask[0].bottom + 5, f"mean {right:.2f}")
    c.y = c._bottom
    brace(c, left, left + wide * len(row), c.y + 12, f"mean with padding: {wrong:.2f}, and other in another batch")
    c.note("the masked mean: Σ mask × value / Σ mask")
    return c


@diagram
def three_mistakes() -> Canvas:
    """Three classic mistakes of examples, each beside what is right."""
    c = Canvas(
        "Three mistakes that raise no error",
        "Three small tables, right and wrong: a label that is not shifted equals its input; padding has a label; the "
        "mask lets a token attend to padding.",
    )
    y = c.y
    for name, right, wrong in (
        ("1  label not shifted", ("the owl slept", "owl slept –"), ("the owl slept", "the owl slept")),
        ("2  padding in the loss", ("owl <eos> <pad>", "<eos> – –"), ("owl <eos> <pad>", "<eos> <pad> <pad>")),
        ("3  mask thrown away", ("the owl <pad>", "1 1 0"), ("the owl <pad>", "1 1 1")),
    ):
        c.text(MARGIN, y + 6, f"{name}: right", anchor="start", bold=True)
        c.text(MARGIN + 194, y + 6, "wrong", anchor="start", bold=True)
        for x, (read, label), good in ((MARGIN, right, True), (MARGIN + 194, wrong, False)):
            tokens(c, y + 20, read.split(), "sky", x=x, width=56, gap=3)
            bad = [not good and a != b for a, b in zip(label.split(), right[1].split())]
            tokens(c, y + 46, label.split(), ["red" if b else "green" if good else "plain" for b in bad], x=x, width=56,
                   gap=3)  # fmt: skip
        y += 84
    c.note("upper rows: what is read; lower rows: labels, in 3 the attention mask. The loss falls all the same")
    return c


@diagram
def bert_masking(tokens_read: int = 200, rate: float = 0.15) -> Canvas:
    """BERT's masking: 15 % selected, of these 80 % masked, 10 % random, 10 % kept."""
    chosen = tokens_read * rate
    parts = (("<mask>", 0.8, "orange"), ("a random token", 0.1, "red"), ("left as it is", 0.1, "green"))
    c = Canvas(
        "Hiding as BERT does",
        f"Of {tokens_read} tokens {rate:.0%} are selected, {chosen:g}; of these "
        + ", ".join(f"{chosen * share:g} become {name}" for name, share, _ in parts) + ". All selected have a label.",
    )  # fmt: skip
    c.box(MARGIN, c.y + 4, 372, 24, f"{tokens_read} tokens", "plain")
    part = c.box(MARGIN, c.y + 52, 130, 24, f"selected: {chosen:g} ({rate:.0%})", "sky")
    c.box(
        part.right + 4,
        c.y + 52,
        372 - 134,
        24,
        f"{tokens_read - chosen:g}: no label, not in the loss",
        "card",
        dash=True,
    )
    c.arrow((part.cx, c.y + 28), part.n)
    y = c.y + 104
    for i, (name, share, fill) in enumerate(parts):
        box = c.box(MARGIN + 126 * i, y, 118, 40, f"{name}\n{share:.0%}: {chosen * share:g}", fill)
        c.arrow((part.cx, part.bottom), (part.cx, y - 14), (box.cx, y - 14), box.n)
    c.note("the last two never look hidden, so the model must have a good vector for every token")
    return c


@diagram
def prediction_matrix(
    words: Sequence[str] = ("the", "owl", "slept", "."), hidden: Sequence[int] = (1,),
    vocabulary: Sequence[str] = ("the", "owl", "fox", "slept", "."), sharp: float = 2.0,
) -> Canvas:  # fmt: skip
    """The prediction matrix, a row of probabilities for each position; in masked modelling few rows count."""
    at = {i: math.exp(sharp) for i in range(len(vocabulary))}
    rows = [[at[j] if word == words[i] else 1.0 for j, word in enumerate(vocabulary)] for i in range(len(words))]
    chances = [[value / sum(row) for value in row] for row in rows]
    c = Canvas(
        "The prediction matrix: which rows count?",
        f"A matrix with a row for each of {len(words)} positions and a column for each token of the vocabulary; only "
        f"the row{'s' * (len(hidden) > 1)} of the hidden position{'s' * (len(hidden) > 1)} counts in the loss.",
    )
    shown = ["<mask>" if i in hidden else word for i, word in enumerate(words)]
    c.text(76, c.y + 14, "reads", anchor="end", ink="muted")
    fills = None if not hidden else [
        [("blue" if word == words[i] else "sky") if i in hidden else "card" for word in vocabulary]
        for i in range(len(words))
    ]  # fmt: skip
    table = cells(c, 82, c.y + 26, chances, 56, 24, form="{:.2f}", rows=shown, columns=vocabulary, fills=fills)
    for i in hidden:
        row = around(table[i])
        c.rect(row.x, row.y, row.w, row.h, None, edge="red line", thick=2)
    loss = -sum(math.log(chances[i][vocabulary.index(words[i])]) for i in hidden) / len(hidden)
    c.note(f"loss = −ln of the dark cell = {loss:.3f}. A causal model counts every row but the last, and in row t the "
           "token of t + 1 is right")  # fmt: skip
    return c
