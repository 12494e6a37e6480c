"""`doctor`: a right machine is found right, a wrong kernel is named, and seconds follow from three steps."""

import json

import pytest
import torch
import torch.nn.functional as F
from virtual_gpu import VirtualGPU

from minillm.cli import doctor, main
from minillm.cli.parts import PARTS, check_part, largest_difference
from minillm.system import Compute

CPU = {name: Compute(torch.device("cpu"), getattr(torch, name)) for name in ("float32", "bfloat16")}


@pytest.fixture
def quick(monkeypatch):
    """Seconds of steps that are not measured: 0.01 of itself, 1 a thousand tokens, 3 a thousand labels."""

    def seconds(config, rows, compute, labels):
        tokens = rows * config.context
        return 0.01 + tokens / 1000 + 3 * labels * tokens / 1000

    monkeypatch.setattr(doctor, "step_seconds", seconds)
    monkeypatch.setattr(doctor, "PRODUCT", {"cpu": 64, "cuda": 64})
    monkeypatch.setattr(doctor, "COPIED", {"cpu": 2**12, "cuda": 2**12})


@pytest.mark.parametrize("dtype", CPU)
def test_every_part_of_this_machine_is_right_within_its_tolerance_and_the_tolerance_is_no_more_than_it_must_be(dtype):
    for name in PARTS:
        check = check_part(name, CPU[dtype])
        assert check.good, check
    assert check_part("attention", CPU[dtype]).tolerance <= (1e-4 if dtype == "float32" else 0.05)


def test_seconds_of_a_command_follow_from_three_steps(quick):
    found = doctor.seconds_of_commands(CPU["float32"])
    for name, (steps, tokens, labels) in doctor.COMMANDS.items():
        assert found[name] == pytest.approx(steps * (0.01 + tokens / 1000 + 3 * labels / 1000))


def test_a_right_machine_gets_a_report_and_one_object_of_json(quick, capsys):
    assert main("doctor --device cpu --dtype fp32".split()) == 0
    said = capsys.readouterr().out
    assert "computes on cpu (fp32); auto takes" in said and "GFLOP/s" in said and "WRONG" not in said
    assert all(name in said for name in (*PARTS, *doctor.COMMANDS, torch.__version__))
    assert main("doctor --device cpu --dtype fp32 --json".split()) == 0
    found = json.loads(capsys.readouterr().out)
    assert [part["name"] for part in found["parts"]] == [*PARTS] and found["machine"]["takes"] == "cpu (fp32)"
    assert set(found["seconds"]) == set(doctor.COMMANDS) and found["speed"]["product"] > 0


WRONG = {  # a kernel that is off by a little, and the part that it is in
    "layer_norm": ("norms", lambda own: lambda *a, **k: own(*a, **k) * 1.002),
    "embedding": ("embedding", lambda own: lambda *a, **k: own(*a, **k) + 1e-3),
    "silu": ("MLP", lambda own: lambda x, *a, **k: own(x) * (1 + 1e-3 * (x > 1))),
    "scaled_dot_product_attention": ("attention", lambda own: lambda *a, **k: own(*a, **k).roll(1, -2)),
}


@pytest.mark.parametrize("kernel", WRONG)
def test_a_planted_wrong_kernel_is_found_and_ends_with_a_sentence(quick, capsys, monkeypatch, kernel):
    name, spoil = WRONG[kernel]
    own = getattr(F, kernel)
    wrong = spoil(own)
    monkeypatch.setattr(F, kernel, lambda x, *a, **k: (own if x.dtype == torch.float64 else wrong)(x, *a, **k))
    if kernel == "embedding":  # whose first argument are the ids
        monkeypatch.setattr(
            F, kernel, lambda i, w, *a, **k: (own if w.dtype == torch.float64 else wrong)(i, w, *a, **k)
        )
    monkeypatch.setattr(doctor, "PARTS", {name: PARTS[name], "AdamW": PARTS["AdamW"]})
    assert main("doctor --device cpu --dtype fp32".split()) == 1
    said = capsys.readouterr().out
    assert f"cpu (fp32) computes wrongly: {name}. Try another --dtype" in said and "AdamW" not in said.splitlines()[-1]


def test_a_part_that_cannot_be_computed_is_named_too(quick, capsys, monkeypatch):
    def broken(at):
        if at.dtype == torch.float64:
            return [at.draw(3)]
        raise RuntimeError("no kernel image is available\nmore of it")

    monkeypatch.setattr("minillm.cli.parts.PARTS", {"odd": broken})
    monkeypatch.setattr(doctor, "PARTS", {"odd": broken})
    assert main("doctor --device cpu --dtype fp32".split()) == 1
    assert "no kernel image is available WRONG" in capsys.readouterr().out


def test_numbers_that_are_none_are_infinitely_wrong_and_zeros_are_no_fault():
    ones = torch.ones(3)
    assert largest_difference([ones * float("nan")], [ones]) == float("inf")
    assert largest_difference([ones, ones * 1e-9], [ones, ones * 0]) < 1e-5
    assert largest_difference([ones, ones], [ones, ones * 0]) > 100


def test_every_part_is_computed_on_a_gpu_where_it_says_so():
    there = Compute(torch.device("cuda"), torch.bfloat16)
    with VirtualGPU() as gpu:
        for name in PARTS:
            before = gpu.launches.total()
            check = check_part(name, there)
            assert check.good and gpu.launches.total() > before, check


@pytest.mark.compiled
def test_compiled_parts_are_right(quick, capsys):
    assert main("doctor --device cpu --dtype fp32 --compile".split()) == 0
