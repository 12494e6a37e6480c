"""The pictures hold what they were given; how they look is for eyes."""

import re

import matplotlib
import pytest

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from minillm.report import coloured_text, heat_map


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
