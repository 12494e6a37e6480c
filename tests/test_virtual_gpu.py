"""A GPU that is not there: that it refuses what a GPU refuses, and counts what a GPU would do."""

import json
import sys
from pathlib import Path

import pytest
import torch
from virtual_gpu import VirtualGPU

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import launches  # noqa: E402

STORED = json.loads((BENCHMARKS / "launches.json").read_text())
QUICK = ("pretrain", "sft", "dpo", "a token of generation")


def test_it_speaks_of_devices_as_a_gpu_does_and_computes_the_same_numbers():
    x = torch.randn(3, 4)
    with VirtualGPU() as gpu:
        there = x.to("cuda")
        assert there.device.type == "cuda" and there[0].is_cuda and not x.is_cuda
        assert (there @ there.T).device.type == "cuda" and torch.zeros(2, device="cuda").is_cuda
        assert torch.equal((there @ there.T).cpu(), x @ x.T)
        layer = torch.nn.Linear(4, 2).to("cuda")
        layer(there).sum().backward()
        assert layer.weight.grad.is_cuda
    assert gpu.launches["mm"] == 2 + 1 and gpu.waits["copy from cuda to cpu"] == 1  # forward; backward of the weight
    assert not torch.cuda.is_available()


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (lambda here, there: here + there, "same device"),
        (lambda here, there: here[there.long()], "not in one place"),
        (lambda here, there: torch.cat([there, here]), "same device"),
        (lambda here, there: there.numpy(), "Tensor.cpu"),
        (lambda here, there: torch.multinomial(there, 1, generator=torch.Generator("cpu")), "generator"),
        (lambda here, there: torch.randperm(3, generator=torch.Generator("cuda")), "generator"),
        (lambda here, there: there.pin_memory(), "pinned"),
    ],
)
def test_what_a_gpu_refuses_is_refused(wrong, what):
    with VirtualGPU(), pytest.raises((RuntimeError, TypeError), match=what):
        wrong(torch.ones(3), torch.ones(3, device="cuda"))


def test_waits_are_counted_where_a_gpu_would_be_waited_for():
    with VirtualGPU() as gpu:
        there = torch.ones(3, device="cuda")
        before = gpu.waits.total()
        x = torch.ones(3).pin_memory().to("cuda", non_blocking=True)
        _ = (x * 2 + there).cumsum(0)[torch.zeros(2, dtype=torch.long, device="cuda")].clamp(max=3)
        assert gpu.waits.total() == before  # none of these
        for wait in (
            lambda: float(x[0]),
            lambda: x[x > 0],
            lambda: x.tolist(),
            lambda: bool((x > 0).all()),
            lambda: x.cpu(),
            lambda: torch.ones(3).to("cuda"),
            lambda: torch.tensor([1.0], device="cuda"),
            lambda: x.nonzero(),
            lambda: x[[0, 1]],
        ):
            before = gpu.waits.total()
            wait()
            assert gpu.waits.total() > before


@pytest.mark.parametrize(
    "stage", [*QUICK, *(pytest.param(s, marks=pytest.mark.compiled) for s in launches.STAGES if s not in QUICK)]
)
def test_a_step_starts_no_more_kernels_and_waits_no_more_than_is_stored(stage):
    found = launches.count(stage)
    assert found["launches"] <= 1.02 * STORED[stage]["launches"] + 1  # torch's own operations change a little
    assert found["waits"] <= STORED[stage]["waits"] + 0.01


def test_a_step_waits_for_nothing_but_the_reading_of_its_loss_every_ten_steps():
    for stage, row in STORED.items():
        if stage not in ("pretrain, fp16", "ppo, a round", "a token of generation"):
            assert row["waits"] == 0.1, stage


def test_the_table_of_the_results_is_the_stored_one():
    table = (BENCHMARKS / "RESULTS.md").read_text()
    for stage, row in STORED.items():
        assert f"| {stage} | {row['launches']:,.0f} | {row['waits']:.1f} |" in table
