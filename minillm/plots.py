"""The pictures: the only module that imports matplotlib. Every function draws on an axis, or makes one and returns it.

Colours are Okabe & Ito's, which people with any kind of colour vision can tell apart; lines also differ in style, so
that a picture survives a grey printer.
"""

import os
from contextlib import contextmanager

import matplotlib

COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]
LINE_STYLES = ["-", "--", "-.", ":"]
STYLE = {
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
    matplotlib.rcParams.update(STYLE)


def axis(ax=None):
    """The axis given, or a new one in the house style."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    with matplotlib.rc_context(STYLE):
        return plt.subplots(layout="constrained")[1]


def loss_curve(history, levels: dict[str, float | None] | None = None, ax=None):
    """Training and validation loss of a run (nats per token) by step, with named levels as horizontal lines.

    history: a `trainer.History`. levels: for example {"bigram": 2.4, "floor": 0.6}; a level of None is not drawn.
    """
    ax = axis(ax)
    steps, losses = history.series("loss")
    ax.plot(steps, smooth(losses), color=COLOURS[0], linewidth=1.2, label="training (smoothed)")
    steps, values = history.series("val_loss")
    ax.plot(steps, values, color=COLOURS[1], marker="o", markersize=3, linewidth=1.2, label="validation")
    for index, (name, level) in enumerate((levels or {}).items()):
        if level is not None:
            style = LINE_STYLES[1 + index % 3]
            ax.axhline(level, color="#444444", linewidth=0.9, linestyle=style, label=f"{name} {level:.3f}")
    ax.set(xlabel="step", ylabel="loss (nats per token)")
    ax.legend()
    return ax


def smooth(values: list[float], share: float = 0.02) -> list[float]:
    """A moving average that forgets at the rate of `share` of the length, unbiased at the start."""
    keep = 1 - 1 / max(share * len(values), 1)
    mean, weight, result = 0.0, 0.0, []
    for value in values:
        mean, weight = keep * mean + (1 - keep) * value, keep * weight + (1 - keep)
        result.append(mean / weight)
    return result


@contextmanager
def picture(path: str | os.PathLike, **figure):
    """A figure that is written to `path` when the block ends: `with picture("loss.png") as ax: ...`"""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        canvas = FigureCanvasAgg(Figure(layout="constrained", **figure))
        yield canvas.figure.subplots()
        temporary = f"{os.fspath(path)}.part"
        canvas.figure.savefig(temporary, dpi=110, format="png")
    os.replace(temporary, path)
