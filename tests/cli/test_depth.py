"""`--depth`: the rule, that flags win over it, that what cannot fit is refused with what can, and memory as counted."""

import gc
import json
import math
import weakref
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from minillm.cli import build, change, depth, main, plan, pretrain
from minillm.cli.cost import expected_seconds, operations, step_seconds
from minillm.cli.depth import PASSES, PER_MATRIX, TUNED_BATCH, TUNED_STEPS, TUNED_TOKENS, batch_of, split
from minillm.cli.memory import hidden_matrices
from minillm.models import RECIPES, Decoder, ModelConfig
from minillm.system import Compute
from minillm.training import OPTIMIZERS, TrainConfig, causal_lm, causal_lm_by_parts, fit, recompute

CPU = Compute(torch.device("cpu"), torch.float32)
ENOUGH = 10**12  # tokens of a text


class Card(Compute):
    """A GPU of 80 GB."""

    def total_memory(self):
        return 80e9


class Small(Card):
    """One of 8 GB."""

    def total_memory(self):
        return 8e9


class Half(Card):
    """One of half a GB."""

    def total_memory(self):
        return 0.5e9


GPU = Card(torch.device("cuda"), torch.bfloat16)


def planned(compute=CPU, text=ENOUGH, vocab_size=1536, **flags):
    asked = build(pretrain.PretrainSettings, flags)
    settings = depth.follow_depth(asked, compute.device.type)
    plan.check_fits(settings, asked, pretrain.new_model, vocab_size, compute)
    return plan.plan(settings, plan.on_paper(pretrain.new_model, settings, vocab_size), text, compute)


def test_two_layers_on_a_cpu_are_what_they_were():
    run = planned().settings
    size, training = run.size, run.training
    assert (size.depth, size.width, size.heads, size.context) == (2, 128, 2, 256)
    assert (training.batch_size, training.accumulate, training.max_steps, training.eval_every) == (8, 1, 740, 74)
    muon = OPTIMIZERS["muon"]
    assert (training.learning_rate, training.matrix_learning_rate, training.head_learning_rate) == (
        (muon.learning_rate, muon.matrix_learning_rate, muon.head_learning_rate)
    )


@pytest.mark.parametrize("compute", [CPU, GPU], ids=["cpu", "gpu"])
def test_every_number_follows_from_the_depth(compute):
    before = None
    for layers in (4, 6, 12, 24):
        run = planned(compute, depth=layers)
        size, training = run.settings.size, run.settings.training
        assert size.width == 64 * layers == 64 * size.heads
        matrices = sum(p.numel() for p in hidden_matrices(run.model))
        assert matrices == 8 * layers * size.width**2  # attention 4 C^2; an MLP twice as wide, 4 C^2
        assert run.tokens == pytest.approx(PER_MATRIX * matrices, rel=0.01) and run.aim.tokens == PER_MATRIX * matrices
        assert run.batch == batch_of(run.tokens) and math.log2(run.batch).is_integer()
        assert run.operations == pytest.approx(run.tokens * operations(run.model, size.context))
        assert run.memory.total <= compute.total_memory()
        if before:
            assert run.batch > before.batch and training.learning_rate < before.settings.training.learning_rate
            assert training.matrix_learning_rate == before.settings.training.matrix_learning_rate
        before = run


def test_a_short_text_is_read_four_times_and_a_shorter_one_as_long_as_a_short_run():
    run = planned(depth=4, text=2_000_000)
    assert run.tokens == pytest.approx(PASSES * 2_000_000, rel=0.01) and "the text is short" in run.aim.why
    run = planned(depth=4, text=1000)
    assert run.tokens == TUNED_TOKENS and run.batch == TUNED_BATCH and run.settings.training.max_steps == TUNED_STEPS


def test_flags_given_by_hand_win_and_what_follows_from_them_follows():
    run = planned(depth=4, width=128, heads=4, context=64, batch_size=12, max_steps=2000)
    assert run.batch == 12 * 64 and run.tokens == 2000 * 12 * 64 and run.aim.why == "as given by hand"
    assert run.settings.training.learning_rate == OPTIMIZERS["muon"].learning_rate  # as wide as was tuned
    assert planned(depth=4, accumulate=4).batch == planned(depth=4).batch  # the same batch, in four parts
    smaller = planned(depth=4, batch_size=2)
    assert smaller.batch == 2 * 256 and smaller.tokens == pytest.approx(planned(depth=4).tokens, rel=0.01)
    assert planned(depth=4, learning_rate=0.5).settings.training.learning_rate == 0.5
    assert planned(width=16).settings.training.learning_rate == OPTIMIZERS["muon"].learning_rate


def test_a_batch_is_split_by_memory_into_equal_parts_of_which_each_fits():
    for windows in (1, 8, 64, 1024):
        for fit_at_once in (1, 3, 8, 2000):
            micro, parts = split(windows, fit_at_once)
            assert micro * parts == windows and micro <= fit_at_once
    large, small = planned(GPU, depth=12), planned(Small(*GPU), depth=12)
    assert large.batch == small.batch and large.settings.training.accumulate < small.settings.training.accumulate
    assert small.memory.total <= 0.8 * 8e9


def test_what_cannot_fit_is_refused_with_the_largest_that_does():
    card = Half(*GPU)
    with pytest.raises(ValueError, match=r"12 layers and 768 channels needs about .* GB") as error:
        planned(card, depth=12)
    largest = int(str(error.value).split("that fits is ")[1].split(";")[0])
    assert planned(card, depth=largest).memory
    with pytest.raises(ValueError, match=f"the largest --depth that fits is {largest};"):
        planned(card, depth=largest + 1)


def test_the_plan_is_said_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("\n\n".join(f"say something kind, number {i}: you are good" for i in range(60)))
    line = "pretrain --data text.txt --vocab-size 280 --depth 3 --device cpu --dtype fp32 --max-steps 2 --plan"
    assert main(line.split()) == 0
    said = capsys.readouterr().out
    assert "decoder: 3 layers, 192 channels" in said and "884,736 matrix parameters (as given by hand)" in said
    assert "operations" in said and "MB: weights" in said and not Path("runs").exists()


def test_a_run_says_how_it_was_planned_and_draws_what_it_would_have_drawn(tmp_path, capsys, monkeypatch):
    (tmp_path / "text.txt").write_text("\n\n".join(f"say something kind, number {i}: you are good" for i in range(60)))
    losses = []
    for least in (0, 1e12):  # with seconds measured, and without
        monkeypatch.setattr(plan, "MEASURED", least)
        line = f"pretrain --data {tmp_path}/text.txt --vocab-size 280 --depth 1 --width 16 --heads 1 --context 16"
        more = f"--batch-size 2 --max-steps 2 --samples 0 --device cpu --dtype fp32 --out {tmp_path}/{least}"
        assert main([*line.split(), *more.split()]) == 0
        assert (" on cpu (fp32)" in capsys.readouterr().out.split("to go on")[0]) == (not least)
        losses.append(json.loads((tmp_path / str(least) / "metrics.json").read_text())["val_loss"])
    assert losses[0] == losses[1]


def test_seconds_come_from_steps_of_one_layer_and_two(monkeypatch):
    config = ModelConfig(64, context=32, layers=5, width=32, heads=2)
    assert 0 < step_seconds(config, 2, CPU) < 5
    monkeypatch.setattr("minillm.cli.cost.step_seconds", lambda config, rows, *_: rows * (1 + config.layers))
    assert expected_seconds(config, 8, CPU, "muon") == 8 * (1 + 5)
    assert expected_seconds(config, 512, CPU, "muon") == 512 * (1 + 5)  # from fewer windows


class Counted(TorchDispatchMode):
    """The bytes of all tensors that there are, at most."""

    def __init__(self):
        super().__init__()
        self.now = self.most = 0
        self.known = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **kwargs or {})
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in self.known:
                storage = tensor.untyped_storage()
                self.known[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self.gone, storage._cdata)
        return out

    def gone(self, place):
        self.now -= self.known.pop(place)


CASES = {
    "ours, Muon": ({}, "muon", "bf16", 1),
    "ours, accumulated": ({}, "muon", "bf16", 2),
    "gpt2, fp32": ({"recipe": "gpt2"}, "adamw", "fp32", 1),
    "gpt2": ({"recipe": "gpt2"}, "adamw", "bf16", 1),
    "llama": ({"recipe": "llama"}, "muon", "bf16", 1),
    "recomputed": ({"recipe": "gpt2", "again": True}, "adamw", "bf16", 1),
    "by parts": ({"recipe": "gpt2", "vocab_size": 20_000}, "adamw", "bf16", 1),
    "by parts, recomputed": ({"recipe": "gpt2", "vocab_size": 20_000, "again": True}, "adamw", "bf16", 1),
}


@pytest.mark.parametrize("case", CASES)
def test_the_memory_of_a_step_is_estimated_within_an_eighth_of_what_is_counted(case):
    more, optimizer, dtype, parts = CASES[case]
    more = dict(more)
    again, vocab_size = more.pop("again", False), more.pop("vocab_size", 2048)
    gc.collect()
    with Counted() as counted:
        model = Decoder(ModelConfig(vocab_size, context=128, layers=3, width=128, heads=2, **more))
        model = recompute(model) if again else model
        ids = torch.randint(vocab_size, (8, 129))
        loss = causal_lm_by_parts if vocab_size > 2**14 else causal_lm
        how = TrainConfig(2, parts, optimizer, eval_every=2, device="cpu", dtype=dtype)
        fit(model, loss, [{"input_ids": ids, "labels": ids}], how, progress=False)
    settings = build(pretrain.PretrainSettings, {"context": 128, "optimizer": optimizer, "recompute": again})
    compute = Compute(torch.device("cpu"), torch.bfloat16 if dtype == "bf16" else torch.float32)
    estimated = plan.memory_of(settings, model, compute, 8, parts)
    assert 7 / 8 < estimated.total / counted.most < 8 / 7, (estimated, estimated.total, counted.most)


def test_the_matrices_are_counted_from_the_recipe():
    for recipe in ("minillm", "gpt2", "llama", "llama-tied"):
        run = planned(depth=4, recipe=recipe)
        kind = RECIPES[recipe]
        inner = int(kind.expansion * 256) * (3 if recipe.startswith("llama") else 2)
        assert sum(p.numel() for p in hidden_matrices(run.model)) == 4 * (4 * 256**2 + 256 * inner), recipe
    assert change(planned().settings, depth=3).size.depth == 3
