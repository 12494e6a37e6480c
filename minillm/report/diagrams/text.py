"""Text and tokens: from a text to a loss, byte-pair encoding, padding, near copies."""

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import brace, tokens


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
def padding(texts: Sequence[str] = ("the owl slept", "a bird", "the fox saw it"), pad: str = "<pad>") -> Canvas:
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
