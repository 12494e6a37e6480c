"""JSON that every reader takes: no NaN, no infinity."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.metrics import Score, seed_interval, similarity_scores
from minillm.system import to_json, write_json
from minillm.training import History, RunFolder


def strictly(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner, max_size=4),
)


def nulled(value):
    if isinstance(value, list):
        return [nulled(item) for item in value]
    if isinstance(value, dict):
        return {key: nulled(item) for key, item in value.items()}
    return None if isinstance(value, float) and (math.isnan(value) or math.isinf(value)) else value


@given(values)
def test_what_is_no_number_becomes_null_and_all_else_stays(value):
    assert strictly(to_json(value)) == strictly(to_json(value, indent=2)) == nulled(value)


def test_scores_and_tuples_are_numbers_and_lists(tmp_path):
    content = {"a": Score(math.nan), "b": (1.0, math.inf), "c": seed_interval([1.0, math.nan])}
    write_json(tmp_path / "a.json", content)
    assert strictly((tmp_path / "a.json").read_text()) == {"a": None, "b": [1.0, None], "c": [None] * 3}


def test_constant_scores_give_metrics_without_a_number():
    import torch

    scores = similarity_scores(torch.eye(3), [1.0, 1.0, 1.0])
    assert strictly(to_json(scores)) == {"recall_at_1": 1.0, "recall_at_5": 1.0, "spearman": None}


def test_a_log_with_what_is_no_number_is_json_and_is_read_again(tmp_path):
    run = RunFolder(tmp_path)
    for step, norm in enumerate([1.0, math.inf, math.nan], 1):
        run.log({"step": step, "loss": 2.0, "grad_norm": norm})
    run.truncate_log(3)
    lines = [strictly(line) for line in run.log_file.read_text().splitlines()]
    assert [line["grad_norm"] for line in lines] == [1.0, None, None]
    steps, norms = History(run.records()).series("grad_norm")
    assert steps == [1, 2, 3] and norms == pytest.approx([1.0, math.nan, math.nan], nan_ok=True)
