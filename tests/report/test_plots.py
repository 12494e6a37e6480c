"""The pictures hold what they were given; how they look is for eyes."""

import re
import time

import matplotlib
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from minillm.report import ROUNDS, coloured_text, heat_map, picture, rounds
from minillm.training import History


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_a_heat_map_writes_every_number_but_the_hidden_ones():
    ax = heat_map([[1, 0], [2.5, 3]], ["a", "b"], ["c", "d"])
    assert sorted(text.get_text() for text in ax.texts) == ["1", "2.5", "3"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_coloured_text_shows_every_character_once_within_its_width():
    pieces = ["One mis", "ty evening ", "a fox,\n", "an owl and a ", "hare"]
    ax = coloured_text(pieces, ["#fff", "#eee", "#ddd", "#ccc", "#bbb"], width=20)
    runs = sorted((text.get_position()[1], text.get_position()[0], text.get_text()) for text in ax.texts)
    assert "".join(run for _, _, run in runs) == re.sub(r"\s", "", "".join(pieces))
    assert all(x + len(run.rstrip()) <= 20 for _, x, run in runs)
    colours = {matplotlib.colors.to_hex(bar.get_facecolor()) for bar in ax.patches}
    assert len(colours) == len(pieces)


NAMES = ["$x^{2$", "a$b$c", r"\frac{$1$", "$" * 3, "line\nbreak", "x" * 3000, "{}", "%s", "名前"]


def test_names_of_others_are_drawn_as_they_are_and_short(tmp_path):
    """A dollar sign begins no formula, and a name of thousands of characters does not take minutes."""
    table = [[i * j for j in range(len(NAMES))] for i in range(len(NAMES))]
    began = time.time()
    with picture(tmp_path / "a.png") as ax:
        heat_map(table, NAMES, NAMES, ax=ax)
    assert time.time() - began < 20
    shown = [text.get_text() for text in ax.get_xticklabels()]
    assert shown == ["$x^{2$", "a$b$c", r"\frac{$1$", "$$$", "line break", "x" * 39 + "…", "{}", "%s", "名前"]
    history = History([{"step": 1, **dict.fromkeys(ROUNDS, 0.5)}])
    with picture(tmp_path / "b.png", (2, 4)) as axes:
        rounds({name: history for name in NAMES}, axes)
    coloured_text(["$a ", "b$ ", "$c$"], ["#fff"] * 3).figure.savefig(tmp_path / "c.png")
    assert all((tmp_path / f"{name}.png").read_bytes()[:4] == b"\x89PNG" for name in "abc")
