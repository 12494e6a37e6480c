"""The loop: what must be equal, what must stop it, and what must survive a kill."""

import itertools
import json
import math
import os
import signal

import pytest
import safetensors.torch
import torch
import tqdm.std

import minillm.training.trainer
from minillm.data import IGNORE_INDEX, Windows, tokenize
from minillm.hub import load_model
from minillm.models import Decoder, ModelConfig
from minillm.peft import AdaLoRA, Budget, freeze, inject
from minillm.system import Compute, load_file, pick_device, seed_everything
from minillm.text import Tokenizer
from minillm.training import (
    OPTIMIZERS,
    RunFolder,
    TrainConfig,
    causal_lm,
    causal_lm_loss,
    describe,
    fit,
    load_weights,
    mean_loss,
    schedule,
    unwrap,
)
from minillm.training.trainer import Trainer

TOKENIZER = Tokenizer.characters("abc")
TOKENS = tokenize(["abcab", "ba", "cabbacabbacabba", "a", "bcbc"] * 40, TOKENIZER)
COMPUTE = Compute(torch.device("cpu"), torch.float32)


def model(**changes):
    seed_everything(0)
    size = {"vocab_size": TOKENIZER.vocab_size, "context": 16, "layers": 2, "width": 16, "heads": 2} | changes
    return Decoder(ModelConfig(**size))


def windows(batch_size=4, seed=3):
    return Windows(TOKENS, 16, batch_size, seed=seed)


def config(**changes):
    return TrainConfig(**({"steps": 12, "eval_every": 4, "warmup": 2, "device": "cpu", "dtype": "fp32"} | changes))


def score(model):
    return mean_loss(model, causal_lm, itertools.islice(windows(), 3), COMPUTE)


def run_folder(path, decoder):
    run = RunFolder(path)
    run.save_config(stage="pretrain", model=describe(decoder))
    return run


def checkpoint(run):
    """The tensors of a run's checkpoint, and all else in it but the time it took."""
    tensors, metadata = load_file(run.last_file)
    state = json.loads(metadata["state"])
    state["history"].pop("seconds")
    return tensors, state


def same_weights(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_training_lowers_the_loss_and_one_seed_gives_the_same_numbers():
    first, second = model(), model()
    a = fit(first, causal_lm, windows(), config(), score, progress=False)
    b = fit(second, causal_lm, windows(), config(), score, progress=False)
    assert a.records == b.records and same_weights(first, second)
    assert a.records[-1]["loss"] < a.records[0]["loss"] - 0.3
    assert a.best == min(a.series("val_loss")[1]) and not first.training


def ragged():
    generator = torch.Generator().manual_seed(5)
    ids = torch.randint(0, 3, (8, 12), generator=generator)
    lengths = torch.tensor([12, 3, 7, 1, 12, 5, 2, 9])
    labels = ids.masked_fill(torch.arange(12) >= lengths[:, None], IGNORE_INDEX)
    return {"input_ids": ids, "labels": labels, "attention_mask": (torch.arange(12) < lengths[:, None]).long()}


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_accumulation_over_ragged_micro_batches_equals_one_large_batch(micro):
    whole = ragged()
    parts = [{k: v[i : i + micro] for k, v in whole.items()} for i in range(0, 8, micro)]
    large, small = model(), model()
    once = {"steps": 1, "optimizer": "adamw", "warmup": 0, "decay": "constant", "clip": 0.5}
    a = fit(large, causal_lm, [whole], config(**once), progress=False)
    b = fit(small, causal_lm, parts, config(accumulate=8 // micro, **once), progress=False)
    assert a.records[0]["loss"] == pytest.approx(b.records[0]["loss"], abs=1e-6)
    assert a.records[0]["grad_norm"] == pytest.approx(b.records[0]["grad_norm"], rel=1e-5)
    for p, q in zip(large.parameters(), small.parameters()):
        torch.testing.assert_close(p, q, atol=1e-4, rtol=1e-4)


def test_a_batch_with_nothing_to_learn_does_no_harm():
    empty = {k: v.clone() for k, v in ragged().items()}
    empty["labels"][:] = IGNORE_INDEX
    decoder = model()
    history = fit(decoder, causal_lm, [empty], config(steps=3), progress=False)
    assert history.tokens == 0 and history.records[0]["loss"] == 0
    assert all(p.isfinite().all() for p in decoder.parameters())
    assert same_weights(decoder, model())


def test_a_loss_function_may_return_a_plain_mean():
    def mean(model, batch):
        return causal_lm_loss(model(batch["input_ids"][:, :-1]), batch["labels"])

    history = fit(model(), mean, windows(), config(), progress=False)
    assert history.records[-1]["loss"] < history.records[0]["loss"]


def test_no_batches_is_an_error_and_not_an_endless_loop():
    with pytest.raises(ValueError, match="no batches"):
        fit(model(), causal_lm, [], config(), progress=False)


def stop_after(steps):
    """A loss function that asks to be interrupted, politely, in its n-th call."""
    calls = itertools.count(1)

    def loss(model, batch):
        if next(calls) == steps:
            os.kill(os.getpid(), signal.SIGINT)
        return causal_lm(model, batch)

    return loss


@pytest.mark.parametrize("dropout", [0.0, 0.2])
@pytest.mark.parametrize("stop", [1, 5, 8, 11])
def test_an_interrupted_run_resumes_bit_for_bit(tmp_path, stop, dropout):
    straight = model(dropout=dropout)
    one = run_folder(tmp_path / "straight", straight)
    fit(straight, causal_lm, windows(), config(), score, run=one, progress=False)

    decoder = model(dropout=dropout)
    two = run_folder(tmp_path / "stopped", decoder)
    history = fit(decoder, stop_after(stop), windows(), config(), score, run=two, progress=False)
    assert history.stopped == "interrupted" and history.step == stop
    again = model(dropout=dropout)
    torch.manual_seed(99)  # whatever else happened in the meantime
    fit(again, causal_lm, windows(), config(), score, run=two, resume=True, progress=False)

    assert same_weights(straight, again)
    assert one.log_file.read_bytes() == two.log_file.read_bytes()
    (a, x), (b, y) = checkpoint(one), checkpoint(two)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a) and x == y


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("stop", [2, 4, 7])
def test_layers_that_begin_one_after_another_resume_bit_for_bit(tmp_path, stop, optimizer):
    slowly = config(unfreeze=True, layer_decay=0.5, optimizer=optimizer)
    straight, again = model(), model()
    fit(straight, causal_lm, windows(), slowly, score, run=run_folder(tmp_path / "a", straight), progress=False)
    run = run_folder(tmp_path / "b", again)
    fit(model(), stop_after(stop), windows(), slowly, score, run=run, progress=False)
    fit(again, causal_lm, windows(), slowly, score, run=run, resume=True, progress=False)
    assert same_weights(straight, again)
    assert (tmp_path / "a/log.jsonl").read_bytes() == (tmp_path / "b/log.jsonl").read_bytes()


def test_a_layer_that_has_not_begun_does_not_move_and_a_stopped_run_leaves_nothing_frozen():
    decoder = model()
    torch.nn.init.normal_(decoder.blocks[1].attention.output.weight)  # so that every layer has a gradient
    torch.nn.init.normal_(decoder.blocks[1].feed_forward.down.weight)
    before = {name: p.detach().clone() for name, p in decoder.named_parameters()}
    moved = {}

    def evaluate(model):
        own = model.named_parameters()
        moved[len(moved) + 1] = {
            name.rpartition(".")[0].partition(".attention")[0].partition(".feed")[0]
            for name, p in own
            if not torch.equal(p, before[name])
        }
        return 1.0

    history = fit(
        decoder, causal_lm, windows(), config(unfreeze=True, eval_every=1, patience=8), evaluate, progress=False
    )
    assert history.step == 9 and history.stopped  # of 12 steps: 3 for each of head, two layers, and embedding
    layers = ["head", "blocks.1", "blocks.0"]
    for step in range(1, 10):
        assert moved[step] == set(layers[: -(-step // 3)])
    assert all(p.requires_grad for p in decoder.parameters())
    with pytest.raises(ZeroDivisionError):
        fit(decoder, lambda model, batch: 1 / 0, windows(), config(unfreeze=True), progress=False)
    assert all(p.requires_grad for p in decoder.parameters())
    with pytest.raises(ValueError, match="layer_decay is 0: it must be positive"):
        config(layer_decay=0)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_layer_far_below_moves_by_its_share_of_the_rate(optimizer):
    far = {}
    for decay in (1.0, 0.5):
        decoder = model(recipe="llama")
        before = decoder.blocks[0].attention.query.weight.detach().clone(), decoder.head.weight.detach().clone()
        once = config(steps=1, warmup=0, decay="constant", optimizer=optimizer, layer_decay=decay, clip=0.0)
        fit(decoder, causal_lm, windows(), once, progress=False)
        far[decay] = (decoder.blocks[0].attention.query.weight - before[0]), (decoder.head.weight - before[1])
    assert torch.equal(far[1.0][1], far[0.5][1]) and far[1.0][1].abs().max() > 1e-4
    torch.testing.assert_close(far[0.5][0], far[1.0][0] / 4, rtol=1e-3, atol=1e-7)  # two below the head


def test_log_lines_behind_the_checkpoint_and_half_lines_are_dropped_on_resume(tmp_path):
    decoder = model()
    run = run_folder(tmp_path / "run", decoder)
    fit(decoder, stop_after(5), windows(), config(), score, run=run, progress=False)
    with open(run.log_file, "a") as file:
        file.write('{"step": 6, "loss": 9.0}\n{"step": 7, "lo')
    fit(model(), causal_lm, windows(), config(), score, run=run, resume=True, progress=False)
    assert [json.loads(line)["step"] for line in run.log_file.read_text().splitlines()] == list(range(1, 13))


def test_a_run_resumed_with_another_number_of_steps_is_refused(tmp_path):
    decoder = model()
    run = run_folder(tmp_path / "run", decoder)
    fit(decoder, causal_lm, windows(), config(), score, run=run, progress=False)
    with pytest.raises(ValueError, match="12 steps, not 20"):
        fit(model(), causal_lm, windows(), config(steps=20), score, run=run, resume=True, progress=False)


def test_the_best_weights_are_kept_apart_from_the_last_and_never_overwritten_by_worse(tmp_path):
    values = iter([3.0, 1.0, 2.0])
    seen = []

    def evaluate(model):
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"val_loss": next(values)}

    decoder = model()
    run = run_folder(tmp_path / "run", decoder)
    history = fit(decoder, causal_lm, windows(), config(), evaluate, run=run, progress=False)
    assert history.best == 1.0 and history.best_step == 8
    best = load_model(run.path)
    assert all(torch.equal(best.state_dict()[k], seen[1][k]) for k in seen[1]) and same_weights(best, decoder)
    last = run.load_training()["model"]
    assert all(torch.equal(last[k], seen[2][k]) for k in seen[2])


def test_patience_stops_a_run_that_no_longer_improves():
    values = itertools.chain([1.0], itertools.repeat(2.0))
    history = fit(model(), causal_lm, windows(), config(steps=40, patience=2), lambda m: next(values), progress=False)
    assert history.step == 12 and "no better evaluation in 2" in history.stopped


def test_a_loss_that_is_no_number_stops_the_run_names_the_step_and_keeps_the_checkpoint(tmp_path):
    calls = itertools.count(1)

    def loss(model, batch):
        total, count = causal_lm(model, batch)
        return (total * math.nan if next(calls) == 7 else total), count

    decoder = model()
    run = run_folder(tmp_path / "run", decoder)
    with pytest.raises(FloatingPointError, match=r"the loss is nan at step 7.*last good checkpoint"):
        fit(decoder, loss, windows(), config(), score, run=run, progress=False)
    kept, state = checkpoint(run)
    assert state["history"]["step"] == 4 and all(t.isfinite().all() for t in kept.values() if t.is_floating_point())
    load_model(run.path)


def test_an_evaluation_that_is_no_number_stops_the_run_and_names_no_checkpoint_that_is_not_there(tmp_path, capsys):
    values = iter([math.nan, 1.0, math.nan])
    for steps, kept in ((4, "training stopped before anything was saved"), (8, "the last good checkpoint is in")):
        decoder = model()
        run = run_folder(tmp_path / str(steps), decoder)
        with pytest.raises(FloatingPointError, match=rf"the validation loss is \w+ at step {steps}: .*{kept}"):
            fit(decoder, causal_lm, windows(), config(), lambda model: next(values), run=run)
        assert run.last_file.exists() == (steps == 8)
        assert capsys.readouterr().err.endswith("\n")  # the bar is closed: what is said next begins a line


def test_an_endless_validation_loss_is_only_the_worst_there_is():
    history = fit(model(), causal_lm, windows(), config(), lambda model: math.inf, progress=False)
    assert history.step == config().steps and history.best == math.inf


@pytest.mark.parametrize(
    "changes",
    [{"layer_decay": math.nan}, {"layer_decay": math.inf}, {"patience": -1}, {"decay_share": math.nan}],
)
def test_settings_that_mean_nothing_are_refused(changes):
    with pytest.raises(ValueError, match=f"{next(iter(changes))} is {next(iter(changes.values()))}: it must"):
        config(**changes)


@pytest.mark.parametrize("seed", [2**32, -(2**32), 2**63 - 1, 10**20])
def test_a_seed_that_torch_cannot_take_is_refused_wherever_it_comes_in(seed):
    for take in (seed_everything, lambda seed: windows(seed=seed)):
        with pytest.raises(ValueError, match=f"the seed is {seed}: it must lie between"):
            take(seed)
    for edge in (2**32 - 1, 1 - 2**32):
        seed_everything(edge)
        assert len(next(iter(windows(seed=edge)))["input_ids"]) == 4


def test_bf16_and_fp32_training_agree():
    a = fit(model(), causal_lm, windows(), config(), score, progress=False)
    b = fit(model(), causal_lm, windows(), config(dtype="bf16"), score, progress=False)
    assert abs(a.best - b.best) < 0.02


def test_gradients_are_clipped_to_the_norm_that_is_logged():
    decoder = model()
    seen = []

    class Recorder(torch.optim.SGD):
        def step(self, closure=None):
            seen.append(torch.nn.utils.get_total_norm([p.grad for p in decoder.parameters() if p.grad is not None]))

    optimizer = Recorder(decoder.parameters(), lr=0.1)
    history = fit(decoder, causal_lm, windows(), config(clip=0.01), optimizer=optimizer, progress=False)
    assert all(norm == pytest.approx(0.01, rel=1e-4) for norm in seen)
    assert all(record["grad_norm"] > 0.01 for record in history.records)


def test_weights_of_a_compiled_model_are_saved_under_their_plain_names(tmp_path):
    class Wrapper(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self._orig_mod = inner

    decoder = model()
    assert unwrap(Wrapper(decoder)) is decoder
    run = run_folder(tmp_path / "run", decoder)
    run.save_model(Wrapper(decoder))
    assert same_weights(load_model(run.path), decoder)


def test_weights_of_another_model_are_refused_by_name():
    with pytest.raises(ValueError, match="missing"):
        load_weights(model(), {}, "here")
    with pytest.raises(ValueError, match=r"embedding.weight is \[12, 32\] where the model has \[12, 16\]"):
        load_weights(model(), model(width=32).state_dict(), "here")


def test_mean_loss_is_exact_over_ragged_batches_and_leaves_the_mode_alone():
    decoder = model().train()
    whole = ragged()
    parts = [{k: v[:3] for k, v in whole.items()}, {k: v[3:] for k, v in whole.items()}]
    assert mean_loss(decoder, causal_lm, parts, COMPUTE) == pytest.approx(
        mean_loss(decoder, causal_lm, [whole], COMPUTE), abs=1e-6
    )
    assert decoder.training


def test_a_device_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="no CUDA device"):
        pick_device("cuda")
    with pytest.raises(ValueError, match="unknown device"):
        pick_device("tpu")
    with pytest.raises(ValueError, match="unknown dtype"):
        pick_device("cpu", "int8")
    with pytest.raises(ValueError, match="fp16 needs a CUDA device"):
        pick_device("cpu", "fp16")


@pytest.mark.parametrize(("supported", "expected"), [(True, torch.bfloat16), (False, torch.float16)])
def test_a_gpu_without_bf16_gets_fp16(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported)
    monkeypatch.delenv("MINILLM_DTYPE", raising=False)
    assert pick_device("auto", "auto") == Compute(torch.device("cuda"), expected)


def test_a_processor_without_bf16_gets_fp32(monkeypatch):
    monkeypatch.setattr("minillm.system.device.cpu_has_fast_bf16", lambda: False)
    monkeypatch.delenv("MINILLM_DTYPE", raising=False)
    assert pick_device("cpu", "auto").dtype == torch.float32


def test_the_environment_says_what_auto_means(monkeypatch):
    for name, dtype in {"bf16": torch.bfloat16, "fp32": torch.float32}.items():
        monkeypatch.setenv("MINILLM_DTYPE", name)
        assert pick_device("cpu", "auto").dtype == dtype and pick_device("cpu", "fp32").dtype == torch.float32
    monkeypatch.setenv("MINILLM_DTYPE", "fp64")
    with pytest.raises(ValueError, match="unknown dtype 'fp64'"):
        pick_device("cpu")


def test_the_progress_bar_needs_no_widgets_so_a_notebook_imports_it_without_a_warning():
    assert minillm.training.trainer.tqdm is tqdm.std.tqdm  # tqdm.auto warns in a notebook that has no ipywidgets


@pytest.mark.parametrize("recipe", ["gpt2", "llama-tied"])
def test_a_table_in_two_places_is_written_once_and_read_into_both(tmp_path, recipe):
    decoder = model(recipe=recipe)
    run = run_folder(tmp_path / "run", decoder)
    fit(decoder, causal_lm, windows(), config(), score, run=run, progress=False)
    assert decoder.head.weight is decoder.embedding.weight
    numbers = sum(p.numel() for p in decoder.parameters())
    for file in (run.model_file, run.last_file):
        written = safetensors.torch.load_file(file)
        assert not [name for name in written if name.endswith("head.weight")]
    assert run.model_file.stat().st_size < 4 * numbers + 8_000  # and a header
    again = load_model(run)
    assert again.head.weight is again.embedding.weight
    assert all(torch.equal(t, again.state_dict()[name]) for name, t in decoder.state_dict().items())
    twin = model(recipe=recipe)
    fit(twin, causal_lm, windows(), config(), score, run=run, resume=True, progress=False)
    assert all(torch.equal(t, twin.state_dict()[name]) for name, t in decoder.state_dict().items())


# fp16: gradients that overflow


def fp16_trainer(loss_fn, steps=8, after_step=None):
    """A run in fp16 on a CPU, which the commands refuse since it is slow."""
    compute = Compute(torch.device("cpu"), torch.float16)
    decoder = inject(model(), AdaLoRA(rank=4, target_rank=2, every=1), generator=torch.Generator().manual_seed(0))
    freeze(decoder)
    batches = list(itertools.islice(windows(), steps))
    return Trainer(decoder, loss_fn, batches, config(steps=steps), compute, None, None, after_step), batches


def test_a_step_whose_gradients_overflow_is_tried_again_and_counts_once():
    seen, calls = [], []

    def steep(model, batch):
        seen.append(batch["input_ids"])
        total, terms = causal_lm(model, batch)
        return total * 3e3, terms

    def after_step(model, step):
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
        calls.append(step)
        budget(model, step)

    trainer, batches = fp16_trainer(steep, after_step=after_step)
    budget = Budget(trainer.model, 8)
    trainer.train(None, progress=False)
    assert trainer.scaler.get_scale() < 2**16 and len(seen) > 8  # some were skipped
    assert calls == [record["step"] for record in trainer.history.records] == [*range(1, 9)]
    assert all(math.isfinite(value) for record in trainer.history.records for value in record.values())
    expected = [schedule(step, 8, 2, "linear", 0.5) for step in range(8)]
    assert [record["share_of_lr"] for record in trainer.history.records] == expected
    assert all(t.isfinite().all() for t in trainer.model.buffers())
    assert trainer.history.tokens == sum(causal_lm(trainer.model, batch)[1] for batch in batches)
    order = [next(i for i, batch in enumerate(batches) if batch["input_ids"] is ids) for ids in seen]
    assert order == sorted(order) and set(order) == set(range(8))  # no batch is lost


def test_a_gradient_that_no_scale_makes_finite_ends_the_run():
    def endless(model, batch):
        total, terms = causal_lm(model, batch)
        return total + (total * 0).sqrt(), terms  # a loss that is finite, and a slope that is not

    trainer, _ = fp16_trainer(endless)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    with pytest.raises(FloatingPointError, match=r"the norm of the gradient is (inf|nan) at step 1: training stopped"):
        trainer.train(None, progress=False)
    assert all(torch.equal(p, old) for p, old in zip(trainer.model.parameters(), before))


@pytest.mark.parametrize("setting", ["learning_rate", "matrix_learning_rate", "weight_decay", "clip", "layer_decay"])
def test_a_setting_beyond_32_bits_is_refused_before_a_step_overflows(setting):
    with pytest.raises(ValueError, match=f"{setting} is 1e"):
        TrainConfig(**{setting: 1e308})


def test_without_a_folder_the_best_weights_are_kept_of_what_learns_alone(monkeypatch):
    adapted = inject(model(), AdaLoRA(rank=2, target_rank=1.0), generator=torch.Generator().manual_seed(0))
    freeze(adapted)
    before = {name: p.detach().clone() for name, p in adapted.named_parameters() if not p.requires_grad}
    kept, load = [], Trainer.load_best
    monkeypatch.setattr(Trainer, "load_best", lambda self: kept.append(self.best_weights) or load(self))
    losses, states = iter([3.0, 1.0, 2.0]), []

    def evaluate(adapted):
        states.append({name: t.clone() for name, t in adapted.state_dict().items()})
        return next(losses)

    fit(adapted, causal_lm, windows(), config(optimizer="adamw"), evaluate, progress=False)
    assert kept[0].keys() == states[1].keys() - before.keys()
    assert all(torch.equal(t, states[1][name]) for name, t in adapted.state_dict().items())  # the second was the best
    assert any(not torch.equal(t, states[2][name]) for name, t in adapted.state_dict().items())
