"""The learner's progress: what check notes, what stays, what cannot be read, and the command that shows it."""

import json

import pytest

from minillm.course import check
from minillm.course.__main__ import main, report
from minillm.course.exercises import all_exercises
from minillm.course.progress import note, read_progress


@pytest.fixture(autouse=True)
def own_file(tmp_path, monkeypatch):
    path = tmp_path / "mine" / "progress.json"
    monkeypatch.setenv("MINILLM_PROGRESS", str(path))
    return path


def stub(probabilities):
    """A stub."""
    ...


def right(probabilities):
    import math

    return math.exp(sum(-math.log(p) for p in probabilities) / len(probabilities))


def test_what_was_right_once_stays_right_and_a_stub_is_not_noted(own_file, capsys):
    check("perplexity_of", stub)
    assert not own_file.exists()
    check("perplexity_of", lambda probabilities: 0.0)
    assert read_progress() == {"perplexity_of": {"right": False, "tries": 1}}
    check("perplexity_of", right)
    check("perplexity_of", lambda probabilities: 0.0)
    assert read_progress() == {"perplexity_of": {"right": True, "tries": 3}}
    assert capsys.readouterr().out.splitlines()[2] == "perplexity_of: right"


def test_every_exercise_is_counted_once_under_its_lesson():
    exercises = all_exercises()
    names = [name for some in exercises.values() for name in some]
    assert list(exercises) == sorted(exercises) and len(names) == len(set(names)) and "perplexity_of" in exercises["01"]


def test_the_command_shows_what_is_right_and_what_is_open(capsys):
    note("perplexity_of", "right")
    assert main(["progress"]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith("lesson 01  ●○") and "perplexity_of" not in first and "smoothed_table" in first
    assert last.startswith("1 of ")


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", '{"perplexity_of": 3}', '{"perplexity_of": {"tries": "many"}}'])
def test_a_damaged_file_stops_nobody(own_file, content, capsys):
    own_file.parent.mkdir()
    own_file.write_text(content)
    check("perplexity_of", right)
    assert capsys.readouterr().out == "perplexity_of: right\n"
    assert json.loads(own_file.read_text())["perplexity_of"] == {"right": True, "tries": 1}


def test_a_file_that_cannot_be_written_stops_nobody(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINILLM_PROGRESS", str(tmp_path / "file" / "progress.json"))
    check("perplexity_of", right)
    assert capsys.readouterr().out == "perplexity_of: right\n" and "0 of " in report()


@pytest.mark.parametrize("asked", [[], ["sing"], ["progress", "twice"]])
def test_anything_else_is_refused_with_the_usage(asked, capsys):
    assert main(asked) == 2 and "python -m minillm.course progress" in capsys.readouterr().err
