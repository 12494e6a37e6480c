"""Looking things up, a real model, and the whole life: retrieval, chat templates, GGUF, the stages and their checks."""

import math
from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import Axes, brace, cells, chained, legend, tokens


@diagram
def retrieval() -> Canvas:
    """Retrieval-augmented generation: find a document, put it into the prompt, answer from it."""
    c = Canvas(
        "Retrieval: find, put into the prompt, answer",
        "A question is encoded as a vector; the nearest of many stored document vectors is found; document and "
        "question together are the prompt of a language model, which answers.",
    )
    top = c.y + 6
    row = chained(c, top, [("question", "sky"), ("encoder", "blue"), ("vector", "orange")], high=30, gap=30)
    store = c.rect(MARGIN, top + 62, 372, 52, "plain", edge="line")
    c.text(MARGIN + 8, top + 73, "documents, encoded beforehand", anchor="start", ink="muted")
    found = tokens(c, top + 84, [f"doc {i + 1}" for i in range(5)], ["card", "card", "green", "card", "card"],
                   width=62, gap=8, mono=False)[2]  # fmt: skip
    c.arrow(row[2].s, (row[2].cx, store.y), label="")
    c.text(row[2].cx - 8, top + 46, "nearest vector", anchor="end", ink="muted")
    y = top + 144
    prompt = c.box(MARGIN + 60, y, 190, 30, "prompt: doc 3 + question", "sky")
    c.arrow(found.s, (found.cx, y))
    model = c.box(282, y, 104, 30, "language model", "blue")
    c.arrow(prompt.e, model.w_)
    answer = c.box(282, y + 52, 104, 26, "answer", "green")
    c.arrow(model.s, answer.n)
    c.arrow((MARGIN + 28, row[0].bottom), (MARGIN + 28, store.y))
    c.line((MARGIN + 28, store.bottom), (MARGIN + 28, y + 15), (prompt.x, y + 15))
    c.note("facts live in the documents, where they can be changed; the model only has to read")
    return c


@diagram
def nearest_neighbour(
    query: tuple[float, float] = (0.8, 0.5), documents: dict[str, tuple[float, float]] | None = None
) -> Canvas:
    """The nearest of a few vectors, by cosine."""
    documents = documents or {"A": (0.9, 0.3), "B": (0.3, 0.9), "C": (0.4, 0.35)}
    cosines = {name: sum(a * b for a, b in zip(query, v)) / math.hypot(*query) / math.hypot(*v)
               for name, v in documents.items()}  # fmt: skip
    best = max(cosines, key=cosines.get)
    c = Canvas(
        "Nearest neighbour: the largest cosine",
        f"A query and {len(documents)} document vectors as arrows; "
        + ", ".join(f"cosine of {name} {v:.3f}" for name, v in cosines.items()) + f"; nearest is {best}.",
    )  # fmt: skip
    size = 1.15 * max(v for vector in (query, *documents.values()) for v in vector)
    axes = Axes(c, 30, c.y + 6, 150, 150, (0, size), (0, size))
    for name, vector in documents.items():
        tip = axes(*vector)
        c.arrow(axes(0, 0), tip, ink="green line" if name == best else "grey line", thick=2)
        c.text(tip[0] + 7, tip[1] - 8, name, anchor="start", bold=name == best)
    tip = axes(*query)
    c.arrow(axes(0, 0), tip, ink="red line", thick=2.4)
    c.text(tip[0] + 7, tip[1] - 8, "query", anchor="start")
    for i, (name, value) in enumerate(cosines.items()):
        c.box(
            236,
            c.y + 24 + 32 * i,
            120,
            24,
            f"cos = {value:.3f}",
            "green" if name == best else "plain",
            bold=name == best,
        )
        c.text(226, c.y + 36 + 32 * i, name, anchor="end", bold=name == best)
    c.note(f"{best} points most nearly where the query points; how long the vectors are does not count")
    return c


@diagram
def closed_or_open_book() -> Canvas:
    """Closed book, retrieved, oracle: what stands in the prompt, and where the facts come from."""
    rows = (
        ("closed book", "question", "its weights", "stale, or made up"),
        ("retrieved", "found document", "the document", "wrong document"),
        ("oracle", "right document", "the document", "misread"),
    )
    c = Canvas(
        "Know it, or look it up",
        "A table: " + "; ".join(f"{a}: the prompt has the {b}, facts come from {d}, and it fails when {e}"
                                for a, b, d, e in rows) + ".",
    )  # fmt: skip
    for x, name in ((146, "in the prompt"), (245, "facts from"), (342, "goes wrong")):
        c.text(x, c.y + 8, name, ink="muted")
    for i, (name, prompt, source, wrong) in enumerate(rows):
        y = c.y + 22 + 34 * i
        c.text(MARGIN, y + 13, name, anchor="start", bold=True)
        c.box(94, y, 104, 26, prompt, "sky")
        c.box(202, y, 86, 26, source, "green" if i else "orange")
        c.text(342, y + 13, wrong if len(wrong) < 15 else wrong.replace(", ", ",\n"))
    c.note("the oracle is the upper bound: what is lost between oracle and retrieved, the search lost")
    return c


@diagram
def stale_knowledge() -> Canvas:
    """A fact that changed after training: the weights say the old one, a document the new one."""
    c = Canvas(
        "Stale knowledge: the world moved on",
        "A time line: training ends, then a fact changes, then a question is asked. From its weights the model gives "
        "the old fact, from a fresh document the new one.",
    )
    y = c.y + 44
    c.arrow((MARGIN, y), (386, y), thick=2)
    for x, label in ((90, "training ends"), (200, "the owl moves"), (310, "question")):
        c.dot(x, y, 5, "ink")
        c.text(x, y - 18, label)
    c.text(376, y + 12, "time", ink="muted", anchor="end")
    for i, (name, says, fill) in enumerate(
        (("weights", "“in the mill”: old", "red"), ("document", "“in the barn”: new", "green"))
    ):
        box = c.box(232, y + 42 + 34 * i, 154, 26, says, fill)
        start = c.box(60, y + 42 + 34 * i, 84, 26, name, "plain")
        c.arrow(start.e, box.w_)
    c.note("a new document costs little; new weights cost a training run, and may forget")
    return c


@diagram
def chat_template(
    messages: Sequence[tuple[str, str]] = (("system", "Be brief."), ("user", "Who slept?"), ("assistant", "The owl.")),
) -> Canvas:
    """ChatML: each message between two special tokens, with its role."""
    c = Canvas(
        "A chat template: messages become one row",
        f"{len(messages)} messages, each between the special tokens im_start and im_end with its role; the last, of "
        "the assistant, is what the model generates.",
    )
    top = c.y + 8
    for i, (role, text) in enumerate(messages):
        y, own = top + 34 * i, role == "assistant"
        fills = ["grey", "sky", "green" if own else "plain", "green" if own else "grey"]
        row = tokens(c, y, ["<|im_start|>", role, text, "<|im_end|>"], fills, x=MARGIN, mono=False, gap=4, high=26)
    brace(c, row[2].x, row[3].right, row[0].bottom + 4, "generated")
    legend(c, [("grey", "special token"), ("sky", "role"), ("green", "the model's")])
    c.note("to answer, the row ends after “assistant”. Another template than the one it was trained with makes a model "
           "worse, without an error")  # fmt: skip
    return c


@diagram
def gguf_file(tensors: int = 272, fields: int = 30) -> Canvas:
    """What a GGUF file holds, from its first byte to its last."""
    parts = (
        ("“GGUF”, version", "4 letters and a number", "grey", 26),
        ("counts", f"{tensors} tensors, {fields} fields", "grey", 26),
        ("fields", "sizes, tokenizer, chat template", "sky", 40),
        ("table of tensors", "name, shape, type, where", "orange", 40),
        ("data", "the numbers, in blocks with a scale", "blue", 84),
    )
    c = Canvas(
        "A GGUF file, from first byte to last",
        "A column of parts: " + "; ".join(f"{name}: {what}" for name, what, _, _ in parts) + ".",
    )
    y = c.y + 4
    for name, what, fill, high in parts:
        c.box(MARGIN, y, 140, high, name, fill, bold=True)
        c.text(170, y + high / 2, what, anchor="start")
        y += high + 3
    c.note("one file with all that a program needs: no code, nothing to execute. The data are read straight from disk")
    return c


@diagram
def whole_life() -> Canvas:
    """The whole life of a model: eleven stages, from a text file to a page that tells of it."""
    stages = (
        ("clean", "grey"), ("split", "grey"), ("tokens", "grey"),
        ("bigram", "blue"), ("pre-train", "blue"), ("questions", "sky"),
        ("instruct", "orange"), ("reward model", "orange"), ("DPO, PPO", "orange"),
        ("measure", "green"), ("one page", "green"),
    )  # fmt: skip
    c = Canvas(
        "The whole life of a model",
        "Eleven stages in reading order: " + ", ".join(name for name, _ in stages) + ".",
    )
    boxes = []
    for i, (name, fill) in enumerate(stages):
        x, y = MARGIN + 130 * (i % 3), c.y + 6 + 52 * (i // 3)
        boxes.append(c.box(x, y, 112, 30, f"{i + 1}  {name}", fill))
    for i, (a, b) in enumerate(zip(boxes, boxes[1:])):
        if i % 3 < 2:
            c.arrow(a.e, b.w_)
        else:
            c.arrow(a.s, (a.cx, a.bottom + 11), (b.cx, a.bottom + 11), b.n)
    legend(
        c, [("grey", "text"), ("blue", "model"), ("sky", "data made of it"), ("orange", "adapted"), ("green", "judged")]
    )
    return c


@diagram
def split_documents(documents: int = 4, questions: int = 3) -> Canvas:
    """Split documents before questions are made of them, or the test leaks."""
    c = Canvas(
        "Split the documents, not the questions",
        f"{documents} documents with {questions} questions each. Split by question, every document stands on both "
        "sides and the answer leaks; split by document, none does.",
    )
    for x, name, leak in ((MARGIN, "by question: leaks", True), (MARGIN + 194, "by document", False)):
        c.text(x, c.y + 8, name, anchor="start", bold=True)
        for d in range(documents):
            y = c.y + 22 + 30 * d
            c.text(x, y + 12, f"doc {d + 1}", anchor="start")
            test = [(q == d % questions) if leak else d == documents - 1 for q in range(questions)]
            cells(c, x + 52, y, [[f"q{q + 1}" for q in range(questions)]], 120 / questions, 24,
                  fills=[["orange" if t else "sky" for t in test]])  # fmt: skip
    legend(c, [("sky", "learned"), ("orange", "test")])
    c.note("questions of one document share its words: a test question whose neighbours were learned measures memory")
    return c


@diagram
def stages_and_checks() -> Canvas:
    """Each stage has a check that costs a second, and what it protects from."""
    rows = (
        ("split", "near copies on one side", "a test of memory"),
        ("tokens", "decode(encode) = text", "lost characters"),
        ("pre-train", "beats the bigram", "a broken loop"),
        ("instruct", "decode the labels", "learning to ask"),
        ("reward", "0.5 outside the interval", "climbing on noise"),
        ("DPO", "begins at ln 2", "a wrong reference"),
    )
    c = Canvas(
        "A check for every stage",
        "A table: " + "; ".join(f"{a}: check {b}, protects from {d}" for a, b, d in rows) + ".",
    )
    for x, name in ((164, "check"), (320, "protects from")):
        c.text(x, c.y + 8, name, ink="muted")
    for i, (stage, check, danger) in enumerate(rows):
        y = c.y + 22 + 30 * i
        c.text(MARGIN, y + 12, stage, anchor="start", bold=True)
        c.box(84, y, 160, 24, check, "green", edge="edge")
        c.box(254, y, 132, 24, danger, "red", edge="edge")
    return c
