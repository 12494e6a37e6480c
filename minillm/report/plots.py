"""The pictures: the only module that imports matplotlib. Every function draws on an axis, or makes one and returns it.

Names of classes and runs are other people's: they are shortened, and a dollar sign in them begins no formula.

Colours are Okabe & Ito's, which people with any kind of colour vision can tell apart; lines also differ in style, so
that a picture survives a grey printer.
"""

import io
import itertools
import os
import re
import warnings
from contextlib import contextmanager

import matplotlib

from minillm.system import write_atomic

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]
LONGEST_NAME = 40  # characters
LINE_STYLES = ["-", "--", "-.", ":"]
PLOT_STYLE = {
    "figure.figsize": (6.4, 3.6),
    "figure.dpi": 88,
    "savefig.bbox": "tight",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "font.size": 9,
    "legend.frameon": False,
}


def use_style() -> None:
    """The house style for every picture from here on, as a notebook wants it."""
    matplotlib.rcParams.update(PLOT_STYLE)


def axis(ax=None, **figure):
    """The axis given, or a new one (or several) in the house style."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    matplotlib.get_backend()  # loads a notebook's, which the context would undo if it came first within it
    with matplotlib.rc_context(PLOT_STYLE):
        return plt.subplots(layout="constrained", **figure)[1]


def loss_curve(history, levels: dict[str, float | None] | None = None, ax=None, whole: float | None = None):
    """Training and validation loss of a run (nats per token) by step, with named levels as horizontal lines.

    Args:
        history: a `History`; levels: for example {"bigram": 2.4, "floor": 0.6}; a level of None is not drawn.
        whole: where the curve was measured on a sample, the loss on all that the levels are of, at the best step.
    """
    ax = axis(ax)
    steps, losses = history.series("loss")
    ax.plot(steps, smooth(losses), color=COLOURS[0], linewidth=1.2, label="training (smoothed)")
    steps, values = history.series("val_loss")
    label = "validation" if whole is None else "validation, a sample"
    ax.plot(steps, values, color=COLOURS[1], marker="o", markersize=3, linewidth=1.2, label=label)
    if whole is not None:
        ax.plot([history.best_step], [whole], "D", color=COLOURS[3], label=f"validation, all {whole:.3f}")
    for index, (name, level) in enumerate((levels or {}).items()):
        if level is not None:
            style = LINE_STYLES[1 + index % 3]
            ax.axhline(level, color="#444444", linewidth=0.9, linestyle=style, label=f"{name} {level:.3f}")
    ax.set(xlabel="step", ylabel="loss (nats per token)")
    ax.legend()
    return ax


def heat_map(values, rows: list[str], columns: list[str], form: str = "{:.2g}", hide: float | None = 0, ax=None):
    """A table of numbers (R, C) as a heat map, darker where larger, written by `form` but for those equal to `hide`."""
    ax = axis(ax)
    largest = max(max(map(float, row)) for row in values)
    ax.imshow([[float(value) for value in row] for row in values], cmap="Blues", vmin=0, vmax=1.8 * largest)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            if float(value) != hide:
                ax.text(x, y, form.format(float(value)), ha="center", va="center", fontsize=8)
    ax.set_xticks(range(len(columns)), map(short, columns), rotation=45, parse_math=False)
    ax.set_yticks(range(len(rows)), map(short, rows), parse_math=False)
    ax.grid(False)
    return ax


def coloured_text(pieces: list[str], colours: list, width: int = 84, ax=None):
    """A text on coloured ground, in lines of at most `width` characters, broken at spaces.

    Args:
        pieces: strings that make up the text; colours: one for each piece.
        ax: is filled, and must be about as high as the text; a new one is made so high.
    """
    places, line, column = [], 0, 0
    for word in re.findall(r"\n|[^\S\n]+|\S+", "".join(pieces)):
        if word == "\n" or (word.strip() and column and column + len(word) > width):
            line, column = line + 1, 0
        for character in word:
            places.append((line, column))
            column += character != "\n"
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.figure(figsize=(6.4, 0.19 * (line + 1))).add_axes((0, 0, 1, 1))
    box = ax.get_position().width * ax.figure.get_figwidth() * 72  # points
    font = {"family": "monospace", "fontsize": box / width / 0.602, "va": "center"}
    start = 0
    for piece, colour in zip(pieces, colours):
        for y, group in itertools.groupby(range(start, start + len(piece)), lambda i: places[i][0]):
            run = [i for i in group if piece[i - start] != "\n"]
            if run:
                x, text = places[run[0]][1], "".join(piece[i - start] for i in run)
                ax.barh(y, len(run) - 0.08, left=x, height=0.86, color=colour, linewidth=0)
                for word in re.finditer(r"\S+", text):  # by word: over a whole line the font's rounded widths add up
                    ax.text(x + word.start(), y, word[0], parse_math=False, **font)
        start += len(piece)
    ax.set(xlim=(0, width), ylim=(line + 0.5, -0.5))
    ax.axis("off")
    return ax


def reliability(chances: list[float], right: list[bool], bins: int = 5, ax=None):
    """How often a model was right (y) where it was so sure (x), and in how many cases; calibrated: on the diagonal.

    Args:
        chances: its probability for what it said, 0.5 at least.
    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", figure 1.
    """
    ax = axis(ax)
    ax.plot([0.5, 1], [0.5, 1], color="#444444", linewidth=0.9, linestyle=LINE_STYLES[1], label="well calibrated")
    edges = [0.5 + 0.5 * i / bins for i in range(bins + 1)]
    for low, high in zip(edges, edges[1:]):
        here = [(c, ok) for c, ok in zip(chances, right) if low <= c < high or c == high == 1]
        if here:
            sure, hit = (sum(map(float, part)) / len(here) for part in zip(*here))
            ax.plot(sure, hit, "o", color=COLOURS[0])
            ax.annotate(len(here), (sure, hit), (4, -10), textcoords="offset points", fontsize=8)
    ax.set(xlabel="how sure the model is", ylabel="share that is right", xlim=(0.48, 1.02), ylim=(0, 1.05))
    ax.legend(loc="lower right")
    return ax


ROUNDS = {  # what a round of PPO logs: how it is called in a picture
    "reward": "reward (deviations)",
    "true_score": "true score",
    "kl": "KL divergence (nats)",
    "entropy": "entropy (nats per token)",
    "clip_fraction": "share of tokens clipped",
    "explained_variance": "explained variance of the value",
    "length": "tokens an answer",
    "ended": "share of answers that end",
}


def rounds(histories: dict, axes=None, quantities: dict[str, str] = ROUNDS):
    """What happened in runs of PPO or its kin, round by round: a small picture for each quantity, a line for each run.

    Args:
        histories: {name: a `History`}.
        axes: as many as there are quantities; without them they are made, four in a row. They are returned.
    """
    rows = -(-len(quantities) // 4)
    axes = axis(axes, nrows=rows, ncols=4, figsize=(10, 2.1 * rows), sharex=True)
    for ax, (key, label) in zip(axes.flat, quantities.items()):
        for index, history in enumerate(histories.values()):
            steps, values = history.series(key)
            style = {"color": COLOURS[index % len(COLOURS)], "linestyle": LINE_STYLES[index % len(LINE_STYLES)]}
            ax.plot(steps, values, linewidth=1.1, marker="o" if key == "true_score" else None, markersize=3, **style)
        ax.set_title(label, fontsize=9)
    if len(histories) > 1:
        for text in axes.flat[0].legend(map(short, histories), fontsize=8).get_texts():
            text.set_parse_math(False)
    axes.flat[-1].set_xlabel("round")
    return axes


def log_probabilities(history, ax=None):
    """How likely a policy of DPO finds the chosen and the rejected answers of held-out pairs, by step (nats an answer).

    history: a `History` of `train_dpo` with `valid`. Both may fall; what is learned is that they part.
    """
    ax = axis(ax)
    for index, side in enumerate(("chosen", "rejected")):
        steps, values = history.series(f"{side}_logprob")
        ax.plot(steps, values, color=COLOURS[index], linestyle=LINE_STYLES[index], marker="o", markersize=3, label=side)
    ax.set(xlabel="step", ylabel="log-probability of an answer (nats)")
    ax.legend()
    return ax


def short(name: str) -> str:
    """A name in one line of at most LONGEST_NAME characters: one of thousands would be drawn for minutes."""
    name = re.sub(r"[^\S ]", " ", str(name))
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def smooth(values: list[float], share: float = 0.02) -> list[float]:
    """A moving average that forgets at the rate of `share` of the length, unbiased at the start."""
    keep = 1 - 1 / max(share * len(values), 1)
    mean, weight, result = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        result.append(mean / weight)
    return result


@contextmanager
def picture(path: str | os.PathLike, grid: tuple[int, int] = (1, 1), **figure):
    """A figure that is written to `path` when the block ends: `with picture("loss.png") as ax: ...`

    A `grid` of more than one axis, rows and columns, comes as an array.
    """
    from matplotlib.figure import Figure

    content = io.BytesIO()
    with matplotlib.rc_context(PLOT_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the font lacks a script: boxes stand there, and no warning helps
        drawn = Figure(layout="constrained", **figure)
        yield drawn.subplots(*grid)
        drawn.savefig(content, dpi=110, format="png")
    write_atomic(path, [content.getvalue()])


def finished_pictures() -> list[tuple[bytes, str]]:
    """Every open figure of pyplot as PNG, with the words on it that say what it shows.

    They are closed, so that a notebook does not show them again.
    """
    import matplotlib.pyplot as plt

    found = []
    for number in plt.get_fignums():
        figure, content = plt.figure(number), io.BytesIO()
        words = [word for ax in figure.axes for word in (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) if word]
        figure.savefig(content, format="png", bbox_inches="tight")
        plt.close(number)
        found.append((content.getvalue(), "; ".join(dict.fromkeys(words))))
    return found
