"""The models that come with the repository: whole, small, and as good as their recipes are when trained again."""

import json

import pytest
import torch

from minillm.course import make_models, ready_models
from minillm.course.models import KEPT, MAKERS
from minillm.hub import load
from minillm.system import load_file

MEGABYTES = 10
BANDS = {  # of what a default run in fp32 reaches on any machine, from the seeds of benchmarks/RESULTS.md
    "pretrain": {"gap_closed": (0.96, 1), "good_samples": (0.9, 1)},
    "mlm": {"restored": (0.86, 0.91)},
    "lstm": {"gap_closed": (0.78, 0.83)},
    "sft": {"exact_match": (0.97, 1), "weakest": (0.85, 1)},
    "letters": {"exact_match": (0.87, 0.94), "true_score_of_letters": (2.0, 3.2)},
    "reward": {"accuracy": (0.67, 0.78), "spearman_with_truth": (0.5, 0.85)},
}


def scores(folder) -> dict:
    """What metrics.json says, and the share right of the weakest kind of question that has one right answer."""
    metrics = json.loads((folder / "metrics.json").read_text())
    kinds = {name: row["right"] for name, row in metrics.get("kinds", {}).items()}
    closed = [right for name, right in kinds.items() if name not in ("", "continue", "summary")]
    return metrics | {"weakest": min(closed, default=None)}


def assert_within_bands(folder, name: str) -> None:
    found = scores(folder)
    for score, (low, high) in BANDS[name].items():
        assert low <= found[score] <= high, (name, score, found[score])


@pytest.mark.parametrize("name", MAKERS)
def test_a_ready_model_is_whole_in_half_precision_and_scored_within_its_band(name):
    folder = ready_models() / name
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", *KEPT[name]}
    tensors, _ = load_file(folder / "model.safetensors")
    assert all(tensor.dtype == torch.float16 and tensor.isfinite().all() for tensor in tensors.values())
    load(folder)
    assert_within_bands(folder, name)


def test_all_of_them_are_a_small_download():
    total = sum(path.stat().st_size for path in ready_models().rglob("*") if path.is_file())
    assert total <= MEGABYTES * 1e6


@pytest.mark.parametrize("name", MAKERS)
def test_no_place_of_the_machine_that_made_them_is_left_in_them(name):
    settings = json.loads((ready_models() / name / "config.json").read_text())["settings"]
    assert settings["out"] == f"runs/{name}"
    assert settings.get("from_") in (None, "", f"runs/{MAKERS[name][1]}")


@pytest.mark.models
def test_trained_again_they_are_as_good(tmp_path):
    make_models(tmp_path / "runs", tmp_path / "models")
    for name in MAKERS:
        assert_within_bands(tmp_path / "models" / name, name)
