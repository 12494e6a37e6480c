"""Measuring answers, prompting, instruction tuning: overlaps, shots, templates, packing."""

import math
from collections import Counter
from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import Axes, brace, cells, chained, legend, lying_bars, tokens

CANDIDATE, REFERENCE = "the owl the owl slept", "the owl slept in a mill"


def _ngrams(words: Sequence[str], n: int) -> Counter:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


@diagram
def ngram_overlap(candidate: str = CANDIDATE, reference: str = REFERENCE) -> Canvas:
    """Unigram precision, recall and F1 of two sentences, with clipped counts."""
    said, right = candidate.split(), reference.split()
    left = Counter(right)
    fills = []
    for word in said:
        fills.append("green" if left[word] else "orange" if word in right else "plain")
        left[word] -= left[word] > 0
    found = sum(fill == "green" for fill in fills)
    back = Counter(said)
    matched = []
    for word in right:
        matched.append("green" if back[word] else "plain")
        back[word] -= back[word] > 0
    precision, recall = found / len(said), found / len(right)
    f1 = 2 * precision * recall / (precision + recall) if found else 0.0
    c = Canvas(
        "Overlap: precision, recall, F1",
        f"The words of {candidate!r} above those of {reference!r}; {found} match, so precision is "
        f"{found}/{len(said)}, recall {found}/{len(right)}, F1 {f1:.2f}.",
    )
    for i, (name, words, colours) in enumerate((("candidate", said, fills), ("reference", right, matched))):
        y = c.y + 6 + 54 * i
        c.text(MARGIN, y + 6, name, anchor="start", bold=True)
        tokens(c, y + 18, words, colours, x=MARGIN, gap=5)
    legend(c, [("green", "matches"), ("orange", "once too often (clipped)"), ("plain", "no match")])
    y = c._bottom + 20
    for i, line in enumerate((
        f"precision = {found}/{len(said)} = {precision:.2f}", f"recall = {found}/{len(right)} = {recall:.2f}",
        f"F1 = 2PR / (P + R) = {f1:.2f}",
    )):  # fmt: skip
        c.text(MARGIN, y + 20 * i, line, anchor="start", bold=i == 2)
    return c


@diagram
def longest_common_subsequence(candidate: str = "the owl in a mill slept", reference: str = "the owl slept in a mill"
                               ) -> Canvas:  # fmt: skip
    """The table of ROUGE-L: the longest sequence of words that both have, in order."""
    a, b = candidate.split(), reference.split()
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    i, j, path = len(a), len(b), set()
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            path.add((i, j))
        elif table[i - 1][j] >= table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    common = [a[i] for i, _ in sorted(path)]
    n = len(common)
    c = Canvas(
        "ROUGE-L: the longest common subsequence",
        f"A table with the words of the candidate as rows and of the reference as columns; a path through it finds "
        f"{' '.join(common)!r}, {n} words in the same order.",
    )
    wide = min(52, 310 / len(b))
    fills = [["green" if (i, j) in path else "plain" for j in range(len(b))] for i in range(len(a))]
    cells(c, 66, c.y + 24, [row[1:] for row in table[1:]], wide, 22, rows=a, columns=b, fills=fills)
    p, r = n / len(a), n / len(b)
    f1 = 2 * p * r / (p + r) if n else 0.0
    c.note(f"“{' '.join(common)}”: {n} words in order, not all side by side. Precision {n}/{len(a)}, recall "
           f"{n}/{len(b)}, F1 {f1:.2f}")  # fmt: skip
    return c


@diagram
def brevity(candidate: int = 4, reference: int = 6) -> Canvas:
    """BLEU's brevity penalty: what is too short loses, what is too long does not."""
    ratio = candidate / reference
    penalty = min(1.0, math.exp(1 - 1 / ratio))
    c = Canvas(
        "BLEU's brevity penalty",
        f"A curve that rises to 1 where the candidate is as long as the reference and stays there; at {candidate} of "
        f"{reference} words the penalty is {penalty:.3f}.",
    )
    axes = Axes(c, 48, c.y + 8, 300, 110, (0.1, 1.7), (0, 1.12), "length / reference", "factor")
    axes.curve(lambda x: min(1.0, math.exp(1 - 1 / x)), 0.1, 1.7)
    for level in (0.0, 1.0):
        c.text(42, axes(0.1, level)[1], f"{level:g}", anchor="end")
    at = axes(ratio, penalty)
    c.line(at, (at[0], axes.frame.bottom), dash=True)
    c.dot(*at, 5, "red line")
    c.text(at[0] + 10, at[1] + 8, f"{candidate}/{reference} words: exp(1 − {reference}/{candidate}) = {penalty:.3f}",
           anchor="start")  # fmt: skip
    c.note("precision alone would like one safe word; the penalty stands in for recall")
    return c


@diagram
def bleu_ngrams(candidate: str = "the owl slept in the old mill", reference: str = "the owl slept in a mill") -> Canvas:
    """The precisions of n-grams of one to four words, and their geometric mean."""
    said, right = candidate.split(), reference.split()
    rows = []
    for n in range(1, 5):
        mine, theirs = _ngrams(said, n), _ngrams(right, n)
        rows.append((sum((mine & theirs).values()), sum(mine.values())))
    product = math.prod(found / max(all_, 1) for found, all_ in rows)
    penalty = min(1.0, math.exp(1 - len(right) / len(said)))
    bleu = penalty * product**0.25
    c = Canvas(
        "BLEU: longer pieces match more rarely",
        f"For {candidate!r} against {reference!r} the share of matching pieces falls with their length: "
        + ", ".join(f"{a}/{b}" for a, b in rows) + f"; BLEU is {bleu:.3f}.",
    )  # fmt: skip
    c.text(MARGIN, c.y + 6, f"candidate: {candidate}", anchor="start")
    c.text(MARGIN, c.y + 26, f"reference: {reference}", anchor="start")
    lying_bars(c, c.y + 44, [a / b for a, b in rows], [f"{n} word{'s' * (n > 1)}" for n in range(1, 5)], x=76,
               forms=[f"{a}/{b}" for a, b in rows], largest=1)  # fmt: skip
    c.note(f"BLEU = brevity × geometric mean = {penalty:.2f} × {product**0.25:.3f} = {bleu:.3f}")
    return c


@diagram
def few_shot_prompt(
    examples: Sequence[tuple[str, str]] = (("gloomy", "sad"), ("cheerful", "glad")), query: str = "lonely",
    answer: str = "sad",
) -> Canvas:  # fmt: skip
    """A few-shot prompt: examples, then a question, in one text."""
    c = Canvas(
        f"A few-shot prompt: {len(examples)} examples, then the question",
        f"One text of {len(examples) + 1} lines: {len(examples)} examples with answers and the query {query!r} "
        f"without; the model continues with {answer!r}.",
    )
    top = c.y + 8
    for i, (word, label) in enumerate([*examples, (query, "?")]):
        y = top + 30 * i
        last = i == len(examples)
        c.box(90, y, 90, 24, word, "orange" if last else "sky", mono=True)
        c.text(192, y + 12, "→")
        c.box(204, y, 76, 24, answer if last else label, "green" if last else "sky", mono=True, dash=last)
        c.text(82, y + 12, "question" if last else f"shot {i + 1}", anchor="end", ink="muted")
    c.text(290, top + 30 * len(examples) + 12, "generated", anchor="start", ink="muted")
    c.note("no weight changes: the examples are in the context only, and are gone with it. Zero-shot has none of them")
    return c


@diagram
def prompt_or_tune() -> Canvas:
    """Prompting changes the text, tuning changes the weights."""
    c = Canvas(
        "Prompting changes the input, tuning the weights",
        "Two flows. Prompting: examples and question go into a frozen model. Tuning: examples change the model's "
        "weights first, and then the question alone is enough.",
    )
    for name, first, fill, second in (
        ("prompting", "examples\n+ question", "plain", "model\n(frozen)"),
        ("tuning", "question", "orange", "model\n(tuned)"),
    ):
        c.text(MARGIN, c.y + 8, name, anchor="start", bold=True)
        y = c.y + 22
        row = chained(c, y, [(first, "sky"), (second, fill), ("answer", "green")], high=38)
        if name == "tuning":
            box = c.box(row[1].x, row[1].bottom + 30, row[1].w, 24, "examples", "sky")
            c.arrow(box.n, row[1].s, label="gradients")
        c.y = c._bottom + 16
    c.note("prompting: pays at each question, in context. Tuning: pays once")
    return c


@diagram
def calibration(
    labels: Sequence[str] = ("glad", "sad"), empty: Sequence[float] = (0.7, 0.3), asked: Sequence[float] = (0.6, 0.4)
) -> Canvas:
    """Calibration of a prompt: divide by what the model says to an empty question."""
    raw = [a / e for a, e in zip(asked, empty)]
    fixed = [value / sum(raw) for value in raw]
    best, before = (labels[max(range(len(labels)), key=values.__getitem__)] for values in (fixed, asked))
    c = Canvas(
        "Calibrate: divide by what it says to nothing",
        f"To an empty question the model says {labels[0]} with {empty[0]:.2f}; to the real one with {asked[0]:.2f}. "
        f"Divided and normalised it is {fixed[0]:.2f}: the answer is {best}, and was {before}.",
    )
    for i, (name, values, fill) in enumerate((
        ("empty question “N/A”", empty, "grey"), ("the real question", asked, "sky"), ("calibrated", fixed, "green"),
    )):  # fmt: skip
        y = c.y + 12 + (24 + 19 * len(labels)) * i
        c.text(MARGIN, y, name, anchor="start", bold=True)
        lying_bars(c, y + 12, values, labels, x=84, width=220, high=15, step=19, fills=fill, largest=1)
    c.note("divide by the first, then make the sum 1 (Zhao et al. 2021): the prompt's own leaning is taken out")
    return c


@diagram
def conversation_mask() -> Canvas:
    """One conversation as a row: only the answer and its end have labels."""
    row = (("<user>", 0), ("who slept?", 0), ("<assistant>", 0), ("the owl", 1), ("<end>", 1))
    c = Canvas(
        "A conversation: only the answer is learned",
        "A row of the tokens "
        + ", ".join(word for word, _ in row) + "; the answer and its end have labels, everything before is ignored.",
    )  # fmt: skip
    boxes = tokens(c, c.y + 8, [word for word, _ in row], ["green" if use else "grey" for _, use in row], mono=False,
                   high=26)  # fmt: skip
    learned = [box for box, (_, use) in zip(boxes, row) if use]
    other = [box for box, (_, use) in zip(boxes, row) if not use]
    brace(c, other[0].x, other[-1].right, boxes[0].bottom + 5, "prompt: read, no loss (−100)")
    brace(c, learned[0].x, learned[-1].right, boxes[0].bottom + 5, "answer: loss")
    c.note("the end is learned, too: without it the model never stops. The role tokens cannot be typed by a user")
    return c


@diagram
def packing(lengths: Sequence[int] = (5, 3, 4, 2, 6, 3), context: int = 8) -> Canvas:
    """Several short conversations in one row instead of padding."""
    rows: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        fit = next((row for row in rows if sum(lengths[j] for j in row) + lengths[i] <= context), None)
        if fit is None:
            rows.append([i])
        else:
            fit.append(i)
    used = sum(lengths)
    c = Canvas(
        "Packing: fill the rows",
        f"{len(lengths)} conversations padded to {context} take {len(lengths)} rows, "
        f"{used / len(lengths) / context:.0%} full; packed they take "
        f"{len(rows)}, {used / len(rows) / context:.0%} full.",
    )
    unit, colours = 170 / context, ("sky", "orange", "green", "pink", "blue", "red", "grey")
    c.text(MARGIN, c.y + 8, f"padded: {len(lengths)} rows", anchor="start", bold=True)
    c.text(MARGIN + 194, c.y + 8, f"packed: {len(rows)} rows", anchor="start", bold=True)
    for i, length in enumerate(lengths):
        y = c.y + 22 + 24 * i
        c.box(MARGIN, y, unit * length, 20, chr(65 + i), colours[i % 7])
        if length < context:
            c.box(MARGIN + unit * length, y, unit * (context - length), 20, "", "card", dash=True)
    for line, row in enumerate(rows):
        x = MARGIN + 194
        for i in row:
            c.box(x, c.y + 22 + 24 * line, unit * lengths[i], 20, chr(65 + i), colours[i % 7])
            x += unit * lengths[i]
        if (free := context - sum(lengths[i] for i in row)) > 0:
            c.box(x, c.y + 22 + 24 * line, unit * free, 20, "", "card", dash=True)
    c.note("the mask keeps the texts of a row apart: each attends to itself alone. Dashed: padding")
    return c


@diagram
def base_or_tuned(
    question: str = "Who slept in the mill?", base: str = "Who ate the soup?", tuned: str = "The owl."
) -> Canvas:
    """What a base model and a tuned one make of a question."""
    c = Canvas(
        "A base model continues, a tuned one answers",
        f"The question {question!r} goes to two models: the base model continues with another question, {base!r}; the "
        f"tuned one answers {tuned!r}.",
    )
    top = c.y + 6
    ask = c.box(MARGIN, top + 34, 150, 26, question, "sky")
    for y, name, text, fill in ((0, "base", base, "plain"), (68, "tuned", tuned, "green")):
        model = c.box(194, top + y, 54, 26, name, "blue")
        c.arrow(ask.e, (180, ask.cy), (180, model.cy), model.w_)
        out = c.box(268, top + y, 118, 26, text, fill)
        c.arrow(model.e, out.w_)
    c.note("both predict the next token; what differs is the text that each has seen after a question")
    return c
