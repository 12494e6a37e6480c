"""Language and text: probabilities of texts, from text to a loss, byte-pair encoding, vectors of words."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import Axes, brace, cells, lying_bars, softmax, tokens

SENTENCES = ("the fox saw the owl", "the owl slept", "the fox saw a bird")


@diagram
def next_token(
    context: str = "the owl", words: Sequence[str] = ("slept", "saw", "the", "fox", "bird"),
    logits: Sequence[float] = (2.0, 1.5, 0.0, -0.5, -1.0),
) -> Canvas:  # fmt: skip
    """From a context to logits to a probability for every token that could come next."""
    chances = softmax(logits)
    best = max(range(len(words)), key=lambda i: chances[i])
    c = Canvas(
        "A language model: what comes next?",
        f"After {context!r} the model gives each token a logit, and the softmax turns the logits into probabilities; "
        f"{words[best]!r} is the likeliest with {chances[best]:.2f}.",
    )
    read = tokens(c, c.y + 36, context.split(), x=MARGIN)
    model = c.box(120, c.y + 28, 62, 38, "model", "sky")
    c.arrow((read[-1].right, model.cy), model.w_)
    top = c.y + 16
    c.text(226, top - 12, "logits", ink="muted")
    table = cells(c, 206, top, [[logit] for logit in logits], 40, form=lambda v: f"{v:.1f}".replace("-", "−"))
    c.arrow(model.e, (206, model.cy))
    c.text(333, top - 12, "probabilities", ink="muted")
    lying_bars(c, top + 2, chances, words, x=296, width=62, step=22)
    c.text(MARGIN, table[-1][0].bottom + 18, "softmax: exp(logit), divided by their sum", anchor="start", ink="muted")
    return c


@diagram
def sentence_probability(
    words: Sequence[str] = ("the", "owl", "slept", "."), chances: Sequence[float] = (0.5, 0.4, 0.25, 0.8)
) -> Canvas:
    """The probability of a text is a product, its loss a mean."""
    product = math.prod(chances)
    loss = -math.log(product) / len(chances)
    c = Canvas(
        "The probability of a text is a product",
        f"Under each of the {len(words)} tokens stands its probability given all before it; multiplied they give "
        f"{product:.3g}, and their mean surprise, the loss, is {loss:.3f}.",
    )
    wide, top = 62, c.y + 10
    row = tokens(c, top, words, "sky", width=wide, gap=26)
    for index, (box, chance) in enumerate(zip(row, chances)):
        c.text(box.cx, box.bottom + 18, f"{chance:g}", bold=True)
        c.text(box.cx, box.bottom + 36, f"−ln: {-math.log(chance):.2f}", ink="muted")
        if index:
            c.text(box.x - 13, box.bottom + 18, "×")
    for left, right in pairwise(row):
        c.arrow(left.e, right.w_)
    y = row[0].bottom + 66
    c.text(MARGIN, y, f"P(text) = {product:.3g}", anchor="start", bold=True)
    c.text(MARGIN, y + 20, f"loss = mean of −ln P = {loss:.3f} nats per token", anchor="start")
    c.text(MARGIN, y + 40, f"perplexity = exp(loss) = {math.exp(loss):.2f}", anchor="start")
    return c


@diagram
def bigram_table(sentences: Sequence[str] = SENTENCES) -> Canvas:
    """Pairs of neighbours, counted; each row divided by its sum is a distribution."""
    pairs = Counter(pair for sentence in sentences for pair in pairwise(sentence.split()))
    words = sorted({word for pair in pairs for word in pair})
    counts = [[pairs[a, b] for b in words] for a in words]
    row = max(range(len(words)), key=lambda i: (sum(counts[i]), -i))
    total = sum(counts[row])
    c = Canvas(
        "A bigram: a table of what follows what",
        f"A table of counts, a row for each word and a column for what follows it. The row of {words[row]!r}, divided "
        f"by its sum of {total}, is a distribution over the next word; most cells are empty.",
    )
    c.text(MARGIN, c.y + 8, "  ·  ".join(sentences), 12, "start", ink="muted")
    wide = min(44, 300 / len(words))
    top, left = c.y + 48, 70
    table = cells(c, left, top, counts, wide, form=lambda n: str(n) if n else "", rows=words, columns=words)
    c.text(left - 6, top - 10, "then", anchor="end", ink="muted")
    first, last = table[row][0], table[row][-1]
    c.rect(first.x, first.y, last.right - first.x, first.h, None, edge="red line", thick=2)
    shares = ",  ".join(f"{word} {n}/{total}" for word, n in zip(words, counts[row]) if n)
    c.note(f"after “{words[row]}”:  {shares}")
    return c


@diagram
def ladder_to_the_floor(
    losses: dict[str, float] | None = None, floor: float | None = None, sentences: Sequence[str] = SENTENCES
) -> Canvas:
    """The losses of ever better models, from uniform to the entropy floor.

    Args:
        losses: nats per token of each model; none: of tables counted on the sentences.
        floor: a level that none can cross, in nats per token.
    """
    if losses is None:
        after = [pair for sentence in sentences for pair in pairwise(sentence.split())]
        seen, first, pair = Counter(b for _, b in after), Counter(a for a, _ in after), Counter(after)
        kinds = {word for sentence in sentences for word in sentence.split()}
        losses = {
            "uniform": math.log(len(kinds)),
            "unigram": -sum(math.log(seen[b] / len(after)) for _, b in after) / len(after),
            "bigram": -sum(math.log(pair[a, b] / first[a]) for a, b in after) / len(after),
        }
    c = Canvas(
        "Each word of context lowers the loss",
        "Bars of loss in nats per token: " + ", ".join(f"{name} {loss:.2f}" for name, loss in losses.items()) + ".",
    )
    x, width, most = 100, 220, max(losses.values())
    lying_bars(c, c.y + 6, list(losses.values()), list(losses), x=x, width=width, fills=["grey", "sky", "blue"] * 9)
    if floor is not None:
        at = x + width * floor / most
        c.line((at, c.y), (at, c._bottom + 6), ink="red line", dash=True)
        c.text(at, c._bottom + 12, f"entropy floor {floor:.2f}")
    c.note("loss in nats per token: the mean surprise at what comes")
    return c


@diagram
def one_hot_lookup(
    table: Sequence[Sequence[float]] = ((0.1, 0.9), (0.7, -0.2), (-0.5, 0.4), (0.3, 0.3)), row: int = 2
) -> Canvas:
    """A one-hot vector times a table is a row of the table."""
    one = [[float(i == row) for i in range(len(table))]]
    product = [[sum(one[0][i] * table[i][j] for i in range(len(table))) for j in range(len(table[0]))]]
    c = Canvas(
        "An embedding is a row of a table",
        f"A one-hot vector with its 1 at place {row} times a table of {len(table)} rows gives row {row} of the table: "
        + ", ".join(f"{v:g}" for v in product[0]) + ".",
    )  # fmt: skip
    top, side = c.y + 26, min(26, 104 / len(table))
    middle, x = top + 12 * len(table), MARGIN + side * len(table)
    wide = min(44, (386 - x - 94) / 2 / len(table[0]))

    def form(value):
        return f"{value:g}".replace("-", "−")

    cells(c, MARGIN, middle - 12, one, side, 24, form=form)
    c.text(MARGIN, middle - 24, f"one-hot of token {row}", anchor="start", ink="muted")
    c.text(x + 16, middle, "×", 16)
    fills = [["orange" if i == row else "plain"] * len(table[0]) for i in range(len(table))]
    cells(c, x + 62, top, table, wide, 24, form=form, fills=fills, rows=[f"{i}" for i in range(len(table))])
    after = x + 62 + wide * len(table[0])
    c.text((x + 62 + after) / 2, top - 10, "table E  (V, C)", ink="muted")
    c.text(after + 16, middle, "=", 16)
    cells(c, after + 32, middle - 12, product, wide, 24, form=form, fills="orange")
    c.text(after + 32 + wide * len(table[0]) / 2, middle - 24, f"row {row}", ink="muted")
    c.note("so nobody multiplies: the row is looked up, and only rows that were read get a gradient")
    return c


@diagram
def cosine(
    vectors: dict[str, tuple[float, float]] | None = None,
) -> Canvas:
    """The cosine of two vectors is that of the angle between them: direction, not length."""
    vectors = vectors or {"fox": (0.9, 0.5), "owl": (0.45, 0.35), "soup": (-0.2, 0.9)}
    (one, a), *others = vectors.items()

    def cos(b):
        return sum(x * y for x, y in zip(a, b)) / math.hypot(*a) / math.hypot(*b)

    near = {name: cos(b) for name, b in others}
    c = Canvas(
        "Cosine: the same direction, whatever the length",
        f"Vectors of {', '.join(vectors)} drawn as arrows from one point. "
        + "; ".join(f"the cosine of {one} and {name} is {value:.2f}" for name, value in near.items()) + ".",
    )  # fmt: skip
    size = 1.05 * max(abs(v) for vector in vectors.values() for v in vector)
    axes = Axes(c, 40, c.y + 6, 150, 150, (-0.35 * size, size), (0, size))
    for (name, vector), ink in zip(vectors.items(), ("blue line", "green line", "red line") * 5):
        tip = axes(*vector)
        c.arrow(axes(0, 0), tip, ink=ink, thick=2)
        c.text(tip[0] + 6, tip[1] - 9, name, anchor="start")
    for index, (name, value) in enumerate(near.items()):
        c.text(232, c.y + 40 + 24 * index, f"cos({one}, {name}) = {value:.2f}".replace("-", "−"), anchor="start")
    c.note("1: the same direction;  0: a right angle;  −1: opposite")
    return c


@diagram
def context_window(sentence: str = "the owl slept in the mill", at: int = 2, reach: int = 2) -> Canvas:
    """Word vectors by counting: the words within a window around a word add to its row."""
    words = sentence.split()
    near = [i for i in range(len(words)) if 0 < abs(i - at) <= reach]
    counts = Counter(words[i] for i in near)
    c = Canvas(
        "A word by the company it keeps",
        f"In the sentence {sentence!r} a window of {reach} words on each side of {words[at]!r} is marked; its words "
        "are counted in the row of that word.",
    )
    fills = ["orange" if i == at else "sky" if i in near else "plain" for i in range(len(words))]
    row = tokens(c, c.y + 6, words, fills, gap=6)
    brace(c, row[near[0]].x, row[near[-1]].right, row[0].bottom + 5, f"within {reach} places")
    names = sorted(set(words))
    cells(c, 84, c._bottom + 44, [[counts[name] for name in names]], 300 / len(names), rows=[words[at]],
          columns=names, form=lambda n: str(n))  # fmt: skip
    c.note("like words keep like company: their rows point in like directions")
    return c
