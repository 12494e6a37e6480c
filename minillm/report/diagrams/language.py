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
def chain_rule(
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
def text_to_loss(
    text: str = "the owl slept", ids: Sequence[int] = (12, 47, 31), vocabulary: int = 265,
    chances: Sequence[float] = (0.4, 0.25),
) -> Canvas:  # fmt: skip
    """The way of a text: tokens, ids, vectors, logits, loss."""
    words = text.split()
    loss = -sum(map(math.log, chances)) / len(chances)
    c = Canvas(
        "From a text to a loss",
        f"A text becomes {len(words)} tokens, the tokens ids; the model turns each id into {vocabulary} logits, and "
        f"the loss is the mean surprise at the next token, here {loss:.2f}.",
    )
    top, wide, names = c.y + 4, 74, ("text", "tokens", "ids", "model", "logits", "loss")
    x, step = 100, 44
    for index, name in enumerate(names):
        c.text(MARGIN, top + step * index + 12, name, anchor="start", bold=True)
    c.box(x, top, 3 * wide + 20, 24, f"“{text}”")
    row = tokens(c, top + step, words, "sky", x=x, width=wide, gap=10)
    numbers = tokens(c, top + 2 * step, list(map(str, ids)), "sky", x=x, width=wide, gap=10)
    model = c.box(x, top + 3 * step, 3 * wide + 20, 24, "transformer", "blue")
    scores = tokens(c, top + 4 * step, [f"{vocabulary} each"] * len(ids), "sky", x=x, width=wide, gap=10, mono=False)
    for upper, lower in zip(row + numbers + scores, [*numbers, *[None] * 6]):
        if lower:
            c.arrow(upper.s, lower.n)
    for box, score in zip(numbers, scores):
        c.arrow(box.s, (box.cx, model.y))
        c.arrow((score.cx, model.bottom), score.n)
    for box, chance, word in zip(scores, chances, words[1:]):
        c.text(box.cx, box.bottom + 26, f"P({word})\n= {chance:g}")
    c.text(scores[-1].cx, scores[-1].bottom + 26, "(nothing\nfollows)", ink="muted")
    c.text(x, scores[0].bottom + 60, f"loss = mean of −ln P = {loss:.3f}", anchor="start", bold=True)
    return c


def merges_of(word: str, counts: dict[str, int], most: int = 20) -> list[tuple[str, str]]:
    """The BPE merges learned from counted words that take part in this word."""
    pieces, found = {w: list(w) for w in counts}, []
    for _ in range(most):
        pairs = Counter(pair for w, n in counts.items() for pair in pairwise(pieces[w]) for _ in range(n))
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        for w, parts in pieces.items():
            i = 0
            while i < len(parts) - 1:
                if (parts[i], parts[i + 1]) == best:
                    parts[i : i + 2] = ["".join(best)]
                    if w == word:
                        found.append(best)
                i += 1
    return found


@diagram
def bpe_tree(word: str = "lowest", counts: dict[str, int] | None = None) -> Canvas:
    """Byte-pair encoding of a word as a tree: characters below, merges above, in the order they were learned."""
    counts = counts or {"low": 5, "lower": 2, "lowest": 3, "newest": 6, "widest": 3}
    merges = merges_of(word, counts)
    c = Canvas(
        "Byte-pair encoding: merge the commonest pair",
        f"The characters of {word!r} in a row; "
        + "; ".join(f"merge {i + 1} joins {a!r} and {b!r}" for i, (a, b) in enumerate(merges))
        + ".",
    )
    high, top = 38, c.y + 2
    floor = top + high * len(merges)
    nodes = tokens(c, floor, list(word), width=40, gap=14)
    parts = list(zip(word, nodes))
    for number, (left, right) in enumerate(merges):
        i = next(i for i, ends in enumerate(pairwise(parts)) if (ends[0][0], ends[1][0]) == (left, right))
        a, b = parts[i][1], parts[i + 1][1]
        y, middle = floor - high * (number + 1), (a.cx + b.cx) / 2
        wide = 18 + 8 * len(left + right)
        node = c.box(middle - wide / 2, y, wide, 22, left + right, "sky", mono=True)
        c.line(a.n, (a.cx, y + 30), (b.cx, y + 30), b.n)
        c.line(node.s, (middle, y + 30))
        c.text(MARGIN, y + 11, f"merge {number + 1}", anchor="start", ink="muted")
        parts[i : i + 2] = [(left + right, node)]
    c.note("learned from: " + ", ".join(f"{w} × {n}" for w, n in counts.items()))
    return c


@diagram
def padding(
    texts: Sequence[str] = ("the owl slept", "a bird", "the fox saw it"), pad: str = "<pad>"
) -> Canvas:
    """A batch from texts of unequal length, padded on the right to learn from and on the left to generate."""
    rows = [text.split() for text in texts]
    long = max(map(len, rows))
    c = Canvas(
        "Padding: a batch is a rectangle",
        f"{len(rows)} texts of unequal length fill a rectangle of {len(rows)} × {long}, once with padding on the "
        "right, for training, and once on the left, for generation; the mask is 0 on padding.",
    )
    wide, left = 52, MARGIN
    for side, use in (("right", "to train"), ("left", "to generate: all texts end at the same place")):
        c.text(left, c.y + 6, f"on the {side}, {use}", anchor="start", bold=True)
        c.text(left + long * wide + 70, c.y + 24, "attention mask", ink="muted")
        for index, row in enumerate(rows):
            empty = [pad] * (long - len(row))
            line = row + empty if side == "right" else empty + row
            y = c.y + 36 + 26 * index
            tokens(c, y, line, ["grey" if word == pad else "sky" for word in line], x=left, width=wide - 4)
            mask = " ".join("0" if word == pad else "1" for word in line)
            c.text(left + long * wide + 70, y + 11, mask, mono=True)
        c.y = c._bottom + 18
    return c


@diagram
def lsh_bands(
    first: Sequence[int] = (3, 9, 4, 1, 7, 2), second: Sequence[int] = (3, 9, 4, 8, 5, 2), rows: int = 2
) -> Canvas:
    """Two MinHash signatures cut into bands: texts that agree on a whole band are compared."""
    bands = [range(i, min(i + rows, len(first))) for i in range(0, len(first), rows)]
    same = [a == b for a, b in zip(first, second)]
    met = [all(same[i] for i in band) for band in bands]
    share = sum(same) / len(same)
    c = Canvas(
        "Near copies: signatures cut into bands",
        f"Two signatures of {len(first)} numbers, of which {sum(same)} agree, an estimated similarity of {share:.2f}. "
        f"Cut into {len(bands)} bands, {sum(met)} agree in full, so the two texts are "
        + ("compared." if any(met) else "not compared."),
    )
    wide, gap, left = 36, 14, 92
    for line, (name, numbers) in enumerate((("text A", first), ("text B", second))):
        y = c.y + 6 + 30 * line
        c.text(MARGIN, y + 12, name, anchor="start")
        for b, band in enumerate(bands):
            for i in band:
                c.box(left + i * wide + b * gap, y, wide, 24, str(numbers[i]), "green" if same[i] else "plain")
    for b, band in enumerate(bands):
        x = left + band[0] * wide + b * gap
        brace(c, x, x + wide * len(band), c.y + 66, "same" if met[b] else "differs")
    c.note(f"share of equal numbers: {sum(same)}/{len(same)} = {share:.2f}, an estimate of the overlap. One band that "
           "agrees in full is enough for a comparison.")  # fmt: skip
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
    top = c.y + 26
    middle = top + 12 * len(table)
    cells(c, MARGIN, middle - 12, one, 26, 24, form=lambda v: f"{v:g}")
    c.text(MARGIN + 13 * len(table), middle - 24, f"one-hot of token {row}", ink="muted")
    x = MARGIN + 26 * len(table)
    c.text(x + 16, middle, "×", 16)
    wide = 44
    fills = [["orange" if i == row else "plain"] * len(table[0]) for i in range(len(table))]
    cells(c, x + 62, top, table, wide, 24, form=lambda v: f"{v:g}".replace("-", "−"), fills=fills,
          rows=[f"{i}" for i in range(len(table))])  # fmt: skip
    c.text(x + 62 + wide * len(table[0]) / 2, top - 10, "table E  (V, C)", ink="muted")
    after = x + 62 + wide * len(table[0])
    c.text(after + 16, middle, "=", 16)
    cells(c, after + 32, middle - 12, product, wide, 24, form=lambda v: f"{v:g}".replace("-", "−"), fills="orange")
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
