"""Looking inside a model: probes, the logit lens, activation patching, steering."""

from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import Axes, stack, tokens


@diagram
def probe() -> Canvas:
    """A probe: a linear map from hidden vectors to something that the text implies."""
    c = Canvas(
        "A probe: can a fact be read off the vectors?",
        "A text goes into a frozen model; a hidden vector of a middle layer goes into a small linear probe, which "
        "learns to say where the owl is. The same probe on shuffled labels and on embeddings is the control.",
    )
    top = c.y + 6
    words = tokens(c, top + 152, ["the", "owl", "went", "home"], "sky", x=MARGIN)
    layers = stack(c, MARGIN + 20, top, 130, [(f"layer {i}", "plain") for i in (1, 2, 3)], high=28, gap=18)
    c.arrow((MARGIN + 85, words[0].y), layers[0].s)
    c.text(MARGIN + 96, words[0].y - 13, "frozen", anchor="start", ink="muted")
    head = c.box(232, layers[1].y - 2, 82, 32, "linear probe", "orange", thick=2)
    c.arrow(layers[1].e, head.w_, label="vector")
    out = c.box(236, top - 2, 74, 26, "at home?", "green")
    c.arrow(head.n, out.s)
    c.text(MARGIN + 218, head.bottom + 24, "only the probe learns", anchor="start")
    c.note("controls: shuffled labels (what can it memorise?) and the embeddings (is it in the words already?). A "
           "probe shows what is there, not what is used")  # fmt: skip
    return c


@diagram
def logit_lens(
    layers: Sequence[str] = ("embedding", "layer 1", "layer 2", "layer 3"),
    best: Sequence[str] = ("the", "house", "barn", "mill"), chances: Sequence[float] = (0.1, 0.2, 0.45, 0.8),
) -> Canvas:  # fmt: skip
    """The logit lens: the LM head, read on every layer's vector."""
    n = len(layers)
    c = Canvas(
        "The logit lens: what would it say by now?",
        "The output layer is applied to the residual stream after each layer: "
        + "; ".join(f"{layer}: {word!r} {p:.2f}" for layer, word, p in zip(layers, best, chances)) + ".",
    )  # fmt: skip
    top = c.y + 24
    for x, name in ((62, "layer"), (172, "LM head"), (252, "likeliest")):
        c.text(x, top - 14, name, ink="muted")
    boxes = stack(c, MARGIN, top, 96, [(layer, "plain") for layer in layers], high=26, gap=14)
    for box, word, p in zip(boxes, best, chances):
        lens = c.box(146, box.y, 52, 26, "lens", "blue")
        c.arrow(box.e, lens.w_)
        out = c.box(218, box.y, 68, 26, word, "green" if box is boxes[n - 1] else "sky", mono=True)
        c.arrow(lens.e, out.w_)
        c.rect(294, box.y + 6, max(1, 56 * p), 14, "sky", edge="line", round=1)
        c.text(300 + 56 * p, box.cy, f"{p:.2f}", anchor="start")
    c.note("the same norm and output layer each time. Where the answer appears, the layers below have found it")
    return c


@diagram
def activation_patching() -> Canvas:
    """Activation patching: copy one vector from a run into another, and see whether the answer follows."""
    c = Canvas(
        "Activation patching: copy one vector",
        "Two runs of the same model side by side, on two texts that differ in one word. One vector of the first run "
        "replaces that of the second, and the second run's answer flips from barn to mill.",
    )
    top = c.y + 10
    for x, name, word, out, fill in (
        (MARGIN + 20, "clean run", "mill", "mill", "sky"),
        (250, "other run", "barn", "mill", "red"),
    ):
        c.text(x + 55, top - 2, name, bold=True)
        answer = c.box(x, top + 12, 110, 26, f"says: {out}", "green")
        row = []
        for layer in (2, 1):
            y = top + 66 + 44 * (2 - layer)
            box = c.box(x, y, 110, 26, f"layer {layer}", "orange" if layer == 1 and x > 200 else "plain")
            row.append(box)
        c.arrow(row[0].n, answer.s)
        c.arrow(row[1].n, row[0].s)
        read = c.box(x, top + 160, 110, 26, f"“… in the {word} …”", fill)
        c.arrow(read.n, row[1].s)
    c.arrow((MARGIN + 130, row[1].cy), (250, row[1].cy), ink="orange line", thick=3, label="copied")
    c.text(305, top + 200, "without the copy: barn", ink="muted")
    c.note("if the answer follows, that vector carries what matters: a cause, not only a correlation")
    return c


@diagram
def steering(strengths: Sequence[float] = (-1.0, 0.0, 1.0), vector: tuple[float, float] = (0.8, 0.5),
             direction: tuple[float, float] = (-0.4, 0.7)) -> Canvas:  # fmt: skip
    """Steering: add a direction to the residual stream."""
    c = Canvas(
        "Steering: add a direction to the stream",
        f"A hidden vector as an arrow, and the same with {', '.join(f'{s:g}' for s in strengths)} times a direction "
        "added: its tip moves along a line from sad to glad.",
    )
    axes = Axes(c, 36, c.y + 6, 210, 150, (-0.2, 1.5), (-0.35, 1.4))
    tips = [axes(vector[0] + s * direction[0], vector[1] + s * direction[1]) for s in strengths]
    c.line(tips[0], tips[-1], ink="red line", dash=True, curve=True)
    for s, tip in zip(strengths, tips):
        c.arrow(axes(0, 0), tip, ink="blue line" if s == 0 else "grey line", thick=2.4 if s == 0 else 1.4)
        c.text(tip[0] + 9, tip[1] - 8, f"{signed_strength(s)}", anchor="start")
    c.text(262, axes.frame.y + 30, "hidden vector h", anchor="start", bold=True)
    c.text(262, axes.frame.y + 54, "h + s · (mean glad\n− mean sad)", anchor="start")
    c.note(
        "the direction is the difference of two means; added in one layer at each step, it changes what is generated"
    )
    return c


def signed_strength(s: float) -> str:
    """The label of a strength: s = −1."""
    return f"s = {s:g}".replace("-", "−")


@diagram
def probe_controls(scores: dict[str, float] | None = None, chance: float = 0.25) -> Canvas:
    """What a probe's score is compared with: its controls, and chance.

    Args:
        scores: accuracy by what was read; none: an example of the order that one hopes for.
    """
    given = scores is not None
    scores = scores or {"middle layer": 1.0, "embeddings": 0.5, "shuffled labels": chance}
    shown = "highest for the middle layer, lower for the embeddings, at chance for shuffled labels"
    if given:
        shown = ", ".join(f"{name} {score:.2f}" for name, score in scores.items())
    c = Canvas(
        "A probe needs controls",
        f"Bars of a probe's accuracy, {shown}; a broken line marks chance at {chance:.2f}.",
    )
    x, width = 116, 200
    y = c.y
    for i, (name, value) in enumerate(scores.items()):
        c.rect(x, y + 8 + 28 * i, max(width * value, 1), 18, ("blue", "sky", "grey")[min(i, 2)], edge="line", round=1)
        c.text(x - 8, y + 17 + 28 * i, name, anchor="end")
        if given:
            c.text(x + width * value + 6, y + 17 + 28 * i, f"{value:.2f}", anchor="start")
    bottom = y + 8 + 28 * len(scores)
    c.line((x + width * chance, y + 2), (x + width * chance, bottom), ink="red line", dash=True)
    c.text(x + width * chance, bottom + 10, f"chance {chance:.2f}")
    c.note(
        ("" if given else "a sketch of the order. ")
        + "Only what is above both controls did the model's layers work out"
    )
    return c
