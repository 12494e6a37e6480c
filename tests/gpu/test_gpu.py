"""On a GPU: every part, every stage for a few steps, precisions, compilation, and going on elsewhere, as on the CPU."""

import copy
import json
import math

import pytest
import torch

from minillm import peft
from minillm.align import (
    PPOConfig,
    direct_preference,
    loss_named,
    pair_of_answers,
    preference,
    train_ppo,
    with_reference,
)
from minillm.cli import build, main, plan, pretrain
from minillm.cli.parts import PARTS, check_part
from minillm.data import IGNORE_INDEX, Padded, Windows, tokenize
from minillm.inference import captured, generate
from minillm.models import Decoder, Encoder, ModelConfig, RewardModel, SequenceClassifier
from minillm.system import pick_device
from minillm.text import Tokenizer
from minillm.training import (
    RunFolder,
    TrainConfig,
    causal_lm,
    causal_lm_by_parts,
    classification,
    fit,
    masked_lm,
    penalised,
    recompute,
)

pytestmark = pytest.mark.gpu
ABC = Tokenizer.characters("abcd")
TOKENS = tokenize(["abcab", "ba", "cabbacabbacabba", "a", "bcbc"] * 40, ABC)
ROWS = [[1 + j % 9 for j in range(3 + i % 7)] for i in range(32)]
PAIRS = [([{"role": "user", "content": "abc"[: 1 + i % 3]}], "a" * (2 + i % 4), "b" * (1 + i % 5)) for i in range(16)]
CLOSE = {"fp32": 5e-3, "bf16": 5e-2, "fp16": 1e-2}  # of losses; products of fp32 are TF32 there
DTYPES = ("fp32", "bf16", "fp16")


def model(kind=Decoder, **more):
    torch.manual_seed(0)
    made = kind(ModelConfig(**({"vocab_size": 16, "context": 64, "layers": 2, "width": 32, "heads": 2} | more)))
    for parameter in made.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape)
    return made


def windows():
    return Windows(TOKENS, 16, 4, seed=3)


def padded(**more):
    return Padded([{"input_ids": r, "labels": [IGNORE_INDEX, *r[1:]]} for r in ROWS], 0, 4, seed=1, **more)


def classes():
    return Padded([{"input_ids": row, "labels": i % 2} for i, row in enumerate(ROWS)], 0, 4, seed=1)


def pairs(device):
    examples = [pair_of_answers(*pair, ABC, 32) for pair in PAIRS]
    kept = with_reference(model().to(device), examples, ABC, pick_device(device, "fp32"))
    return Padded(kept, 0, 4, seed=1, causal=True)


def adapted(method):
    made = peft.inject(model(), peft.METHODS[method](), generator=torch.Generator().manual_seed(1))
    peft.freeze(made)
    return made


STAGES = {  # a loss, a model and batches on a device
    "pretrain": lambda d: (causal_lm, model(), windows()),
    "gpt2": lambda d: (causal_lm, model(recipe="gpt2"), windows()),
    "llama": lambda d: (causal_lm, model(recipe="llama"), windows()),
    "recomputed": lambda d: (causal_lm, recompute(model()), windows()),
    "large vocabulary": lambda d: (causal_lm_by_parts, model(), windows()),
    "mlm": lambda d: (masked_lm, model(Encoder), padded()),
    "classify": lambda d: (classification, SequenceClassifier(model(Encoder), 2), classes()),
    "sft": lambda d: (causal_lm, model(), padded()),
    "reward": lambda d: (preference(), RewardModel(model()), pairs(d)),
    "dpo": lambda d: (direct_preference(loss_named("dpo")), model(), pairs(d)),
    **{f"sft, {m}": lambda d, m=m: (causal_lm, adapted(m), padded()) for m in peft.METHODS if m != "adalora"},
    "sft, adalora": lambda d: (penalised(causal_lm, peft.orthogonality), adapted("adalora"), padded()),
}


def losses(stage, device, dtype="fp32", steps=4, **more):
    loss, made, batches = STAGES[stage](device)
    how = {"learning_rate": 1e-3, "matrix_learning_rate": 1e-3, "eval_every": 100}
    config = TrainConfig(steps=steps, device=device, dtype=dtype, **how | more)
    return fit(made, loss, batches, config, progress=False).series("loss")[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("part", PARTS)
def test_a_part_is_right(device, part, dtype):
    check = check_part(part, pick_device(device, dtype))
    assert check.good, check


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_learns_what_it_learns_on_the_cpu(device, stage):
    there, here = losses(stage, device), losses(stage, "cpu")
    assert len(there) == 4 and there == pytest.approx(here, rel=CLOSE["fp32"])


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
@pytest.mark.parametrize("stage", ["pretrain", "mlm", "sft", "dpo", "sft, lora"])
def test_mixed_precision_is_near_the_cpu_s_fp32(device, stage, dtype):
    assert losses(stage, device, dtype) == pytest.approx(losses(stage, "cpu"), rel=CLOSE[dtype])


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "sgd"])
def test_every_optimizer_accumulates_and_clips_alike(device, optimizer):
    more = {"optimizer": optimizer, "accumulate": 3, "clip": 0.1}
    assert losses("pretrain", device, **more) == pytest.approx(losses("pretrain", "cpu", **more), rel=CLOSE["fp32"])


@pytest.mark.real("cuda")
def test_products_of_fp32_are_exact_or_tf32_as_is_asked():
    a, b = torch.randn(256, 256), torch.randn(256, 256)
    found = {}
    for precision in ("highest", "high"):
        torch.set_float32_matmul_precision(precision)
        product = (a.cuda() @ b.cuda()).cpu()
        found[precision] = float((product - a @ b).norm() / (a @ b).norm())
    assert found["highest"] < 1e-5 and found["high"] < 2e-3
    pick_device("cuda", "fp32")
    assert torch.get_float32_matmul_precision() == "high"


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", ["pretrain", "sft", "dpo"])
@pytest.mark.real("cuda", "cpu")
def test_a_compiled_run_learns_the_same(device, stage, dtype, capsys):
    compiled = losses(stage, device, dtype, compile=True)
    assert compiled == pytest.approx(losses(stage, device, dtype), rel=CLOSE[dtype])
    assert "does not work here" not in capsys.readouterr().out


@pytest.mark.parametrize("to_cpu", [True, False])
def test_a_run_goes_on_elsewhere(device, tmp_path, to_cpu):
    first, then = (device, "cpu") if to_cpu else ("cpu", device)
    how = {"steps": 6, "learning_rate": 1e-3, "matrix_learning_rate": 1e-3, "eval_every": 3, "dtype": "fp32"}
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()

    def stop(model, step):
        if step == 4:
            raise KeyboardInterrupt

    quiet = {"progress": False}
    with pytest.raises(KeyboardInterrupt):
        fit(model(), causal_lm, windows(), TrainConfig(device=first, **how), run=run, after_step=stop, **quiet)
    went_on = fit(model(), causal_lm, windows(), TrainConfig(device=then, **how), run=run, resume=True, **quiet)
    whole = fit(model(), causal_lm, windows(), TrainConfig(device="cpu", **how), **quiet)
    assert went_on.step == 6
    assert went_on.series("loss")[1] == pytest.approx(whole.series("loss")[1], rel=CLOSE["fp32"])


@pytest.mark.parametrize("recipe", ["minillm", "gpt2", "llama"])
def test_greedy_texts_are_those_of_the_cpu_with_the_cache_and_without(device, recipe):
    made, ids = model(recipe=recipe).eval(), torch.tensor([[0, 1, 2], [4, 5, 6]])
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)  # far from ties
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    expected = generate(made, ids, 24, 0.0, attention_mask=mask)
    there = copy.deepcopy(made).to(device)
    for cache in (True, False):
        found = generate(there, ids.to(device), 24, 0.0, attention_mask=mask.to(device), use_cache=cache)
        assert torch.equal(found.cpu(), expected)


@pytest.mark.real("cuda")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_captured_step_writes_the_same_texts(dtype):
    made, ids = model().to("cuda").eval(), torch.zeros(3, 2, dtype=torch.long, device="cuda")
    for parameter in made.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)  # far from ties
    with pick_device("cuda", dtype).autocast():
        expected, fast = generate(made, ids, 40, 0.0), captured(made)
        found = [generate(fast, ids, 40, 0.0) for _ in range(2)]
    assert torch.equal(*found) and (found[0] == expected).float().mean() > (0.99 if dtype == "fp32" else 0.7)


def test_sampling_with_a_seed_is_repeatable(device):
    made, ids = model().to(device).eval(), torch.zeros(4, 1, dtype=torch.long, device=device)
    texts = [generate(made, ids, 20, top_p=0.9, generator=torch.Generator(device).manual_seed(3)) for _ in range(2)]
    assert torch.equal(texts[0].cpu(), texts[1].cpu())


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_ppo_goes_through_a_round(device, dtype):
    settings = PPOConfig(
        rounds=2, batch_size=4, minibatch_size=2, epochs=1, max_new_tokens=8, device=device, dtype=dtype
    )
    prompts = [conversation for conversation, _, _ in PAIRS]
    length = lambda conversations, answers: torch.tensor([len(a) % 3 + i / 9 for i, a in enumerate(answers)])  # noqa: E731
    policy = model(vocab_size=ABC.vocab_size)
    history = train_ppo(policy, ABC, prompts, length, settings, progress=False)
    assert all(math.isfinite(float(p.sum())) for p in policy.parameters()) and history is not None


@pytest.mark.parametrize("dtype", DTYPES)
def test_commands_run_from_text_to_answers(device, dtype, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **more: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("\n\n".join(f"say something kind, number {i}: you are good" for i in range(60)))
    rows = "".join(json.dumps({"prompt": f"say {i}", "completion": f"you are {i}"}) + "\n" for i in range(16))
    (tmp_path / "chats.jsonl").write_text(rows)
    size = "--depth 1 --width 16 --heads 2 --vocab-size 280 --batch-size 4 --context 32 --samples 1"
    where = f"--device {device} --dtype {dtype}"
    for line in (
        f"pretrain --data text.txt {size} --max-steps 3 --out base {where}",
        f"sft --data chats.jsonl --from base --max-steps 3 --method lora --rehearse 0 --out tuned {where}",
        f"generate --from tuned --prompt hello --n 2 --max-new-tokens 8 {where}",
        f"eval --from base --data text.txt {where}",
    ):
        assert main(line.split()) == 0, capsys.readouterr().err
    assert math.isfinite(json.loads((tmp_path / "base" / "metrics.json").read_text())["val_loss"])


@pytest.mark.real("cuda")
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("vocab_size", [2048, 32_768])
def test_the_memory_of_a_step_is_as_estimated(again, vocab_size):
    compute = pick_device("cuda", "bf16")
    made = Decoder(ModelConfig(vocab_size, context=512, layers=6, width=384, heads=6, recipe="gpt2"))
    made = recompute(made) if again else made
    ids = torch.randint(vocab_size, (16, 513))
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss = causal_lm_by_parts if vocab_size > 2**14 else causal_lm
    config = TrainConfig(3, optimizer="adamw", eval_every=3, device="cuda", dtype="bf16")
    fit(made, loss, [{"input_ids": ids, "labels": ids}], config, progress=False)
    most = torch.cuda.max_memory_allocated() - before
    settings = build(pretrain.PretrainSettings, {"context": 512, "optimizer": "adamw", "recompute": again})
    assert 0.75 < plan.memory_of(settings, made, compute, 16).total / most < 1.33


@pytest.mark.real("cuda")
def test_a_device_that_is_full_is_one_sentence(tmp_path, capsys):
    (tmp_path / "text.txt").write_text("\n\n".join(f"say something kind, number {i}: you are good" for i in range(60)))
    flags = f"--data {tmp_path}/text.txt --vocab-size 280 --depth 300 --device cuda --out {tmp_path}/run"
    assert main(["pretrain", *flags.split()]) == 2
    assert "the largest --depth that fits is" in capsys.readouterr().err and not (tmp_path / "run").exists()
