"""The stages reward, dpo and ppo: what they write, that they go on, and what they refuse."""

import json
import os
import shutil
import signal

import pytest
import torch

from minillm.cli import main
from minillm.data import load_parts, read_preferences
from minillm.hub import base_of, load_model, load_tokenizer
from minillm.models import LSTMLM, Encoder, LSTMConfig, ModelConfig, RewardModel, SequenceClassifier
from minillm.peft import AdapterRun, LoRA, adapters, freeze, inject, remove
from minillm.training import RunFolder, describe

MODEL = "--depth 2 --width 16 --heads 2 --vocab-size 280 --max-steps 4 --dtype fp32 --device cpu".split()
SMALL = "--max-steps 4 --eval-every 2 --dtype fp32 --device cpu".split()
ROUND = "--rounds 2 --batch-size 4 --max-new-tokens 6 --dtype fp32 --device cpu".split()
ROUNDS = [*ROUND, "--minibatch-size", "2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run of pretrain, one of sft, pairs and prompts."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text("\n\n".join(f"say something kind, number {i}: you are good" for i in range(300)))
    pairs = [{"prompt": f"say {i}", "chosen": f"you are {i}", "rejected": f"bad {i}"} for i in range(24)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    chats = [{"prompt": pair["prompt"], "completion": pair["chosen"]} for pair in pairs]
    (folder / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats))
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p["prompt"]}) + "\n" for p in pairs))
    assert main(["pretrain", "--data", str(folder / "text.txt"), *MODEL, "--out", str(folder / "pretrain")]) == 0
    flags = ["--data", str(folder / "chats.jsonl"), "--from", str(folder / "pretrain"), *SMALL]
    assert main(["sft", *flags, "--out", str(folder / "sft")]) == 0
    flags = ["--data", str(folder / "pairs.jsonl"), "--from", str(folder / "sft"), *SMALL]
    assert main(["reward", *flags, "--out", str(folder / "reward")]) == 0
    return folder


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Rewards are put to mean 0 and deviation 1 by few answers."""
    monkeypatch.setattr("minillm.cli.ppo.STANDARD", 12)


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures take most of the time of so short a run, and are looked at in other tests."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, file, **_: None)


@pytest.fixture
def runs(trained, tmp_path):
    """The same in every test's own folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return tmp_path


def metrics(run):
    return json.loads((run / "metrics.json").read_text())


def test_a_reward_model_says_how_often_it_is_right(runs):
    found = metrics(runs / "reward")
    assert 0 <= found["accuracy_low"] <= found["accuracy"] <= found["accuracy_high"] <= 1
    first = json.loads((runs / "reward" / "log.jsonl").read_text().splitlines()[0])
    assert first["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert (runs / "reward" / "reliability.png").stat().st_size > 1000
    assert found["baselines"]["the longer answer"]["accuracy"] == 1.0


@pytest.mark.parametrize("more", [[], ["--method", "lora"], ["--loss", "ipo"], ["--loss", "simpo", "--beta", "2"]])
def test_dpo_writes_answers_before_and_after(runs, more):
    flags = ["--data", str(runs / "pairs.jsonl"), "--from", str(runs / "sft"), *SMALL, "--out", str(runs / "dpo")]
    assert main(["dpo", *flags, "--rehearse-answers", "0", *more]) == 0
    row = json.loads((runs / "dpo" / "predictions.jsonl").read_text().splitlines()[0])
    assert set(row) == {"prompt", "before", "after"}
    records = [json.loads(line) for line in (runs / "dpo" / "log.jsonl").read_text().splitlines()]
    assert {"margin", "chosen_logprob", "rejected_logprob", "accuracy"} < records[-1].keys()
    if "--loss" not in more:
        assert records[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert main(["generate", "--from", str(runs / "dpo"), "--prompt", "say 3", "--max-new-tokens", "4"]) == 0


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["--method", "lora"],
        ["--algorithm", "grpo", "--group-size", "2"],
        ["--algorithm", "reinforce", "--group-size", "4"],
    ],
)
def test_ppo_learns_from_a_reward_model(runs, more):
    flags = ["--data", str(runs / "prompts.jsonl"), "--from", str(runs / "sft"), "--reward", str(runs / "reward")]
    rounds = ROUND if "reinforce" in more else ROUNDS
    assert main(["ppo", *flags, *rounds, "--out", str(runs / "ppo"), *more]) == 0
    found = metrics(runs / "ppo")
    assert {"kl", "length", "reward"} < found.keys() and found["steps"] == 2
    first = json.loads((runs / "ppo" / "log.jsonl").read_text().splitlines()[0])
    assert first["first_ratio"] == pytest.approx(1.0, abs=1e-4) and first["kl"] == pytest.approx(0.0, abs=1e-4)
    assert (runs / "ppo" / "ppo.png").exists()
    assert main(["generate", "--from", str(runs / "ppo"), "--prompt", "say 3", "--max-new-tokens", "4"]) == 0


@pytest.mark.parametrize(
    ("stage", "record", "message"),
    [
        ("reward", {"prompt": "a", "chosen": "b", "rejected": "b "}, ':1: "chosen" and "rejected" are the same'),
        ("dpo", {"prompt": "a", "chosen": "", "rejected": "b"}, ':1: "chosen" is empty'),
        ("reward", {"prompt": "a", "chosen": "b"}, ":1: expected"),
        ("dpo", {"prompt": "a " * 500, "chosen": "b", "rejected": "c"}, "leaves no room for an answer in a context of"),
    ],
)
def test_a_bad_pair_is_left_out_and_said_and_nothing_but_bad_ones_stop_with_a_place(
    runs, capsys, stage, record, message
):
    bad = runs / "bad.jsonl"
    flags = ["--data", str(bad), "--valid", str(runs / "pairs.jsonl"), "--from", str(runs / "sft"), *SMALL]
    bad.write_text(json.dumps(record) + "\n")
    assert main([stage, *flags, "--out", str(runs / "new")]) == 2
    said = capsys.readouterr().err
    assert message in said and f"{bad}:1: " in said
    assert not (runs / "new").exists()
    good = [{"prompt": f"say it {i}", "chosen": "good", "rejected": "bad"} for i in range(3)]
    bad.write_text("".join(json.dumps(one) + "\n" for one in (record, *good)))
    assert main([stage, *flags, "--show"]) == 0
    said = capsys.readouterr().err
    assert "1 of 4 records are left out:" in said and message in said and f"{bad}:1: " in said


def test_ppo_refuses_what_is_no_reward_model_of_this_vocabulary(runs, capsys):
    flags = ["ppo", "--data", str(runs / "prompts.jsonl"), "--from", str(runs / "sft"), *ROUNDS]
    flags += ["--out", str(runs / "new")]
    assert main([*flags, "--reward", str(runs / "sft")]) == 2
    assert "needs a reward model" in capsys.readouterr().err
    other = runs / "other"
    assert main(["pretrain", "--data", str(runs / "text.txt"), *MODEL, "--vocab-size", "270", "--out", str(other)]) == 0
    pairs = ["--data", str(runs / "pairs.jsonl"), "--from", str(other), *SMALL, "--out", str(runs / "theirs")]
    assert main(["reward", *pairs]) == 0
    assert main([*flags, "--reward", str(runs / "theirs")]) == 2
    assert "reads with another tokenizer" in capsys.readouterr().err
    assert not (runs / "new").exists()


# What is refused


def put(run, model, tokenizer, base=None):
    """A run folder as a stage would leave it; of an adapter on `base`, with what is on it."""
    folder = AdapterRun(run, "lora-1") if base else RunFolder(run)
    stands_on = base_of(RunFolder(base), folder, "lora-1") if base else None
    folder.save_config(stage="sft", model=describe(model), tokenizer=tokenizer.fingerprint, base=stands_on)
    tokenizer.save(run / "tokenizer.json")
    folder.save_model(model)


@pytest.fixture(scope="module")
def zoo(trained):
    """Beside the runs: models that cannot be aligned, rewards that say nothing, files that hold nothing to learn."""
    tokenizer, vocabulary = load_tokenizer(RunFolder(trained / "sft")), load_model(trained / "sft").config.vocab_size
    put(trained / "lstm", LSTMLM(LSTMConfig(vocabulary, 1, 16)), tokenizer)
    encoder = Encoder(ModelConfig(vocabulary, 32, layers=1, width=16, heads=2))
    put(trained / "encoder", encoder, tokenizer)
    put(trained / "classifier", SequenceClassifier(encoder, 2), tokenizer)
    broken = load_model(trained / "reward")
    torch.nn.init.constant_(broken.head.weight, float("nan"))
    put(trained / "broken", broken, tokenizer)
    put(trained / "silent", RewardModel(broken.trunk), tokenizer)
    lines = {
        "empty": [],
        "one": ["a"],
        "often": ["a"] * 12,
        "long": ["a", "hello " * 300, "hello " * 301],
        "blank": ["a", " ", " "],
    }
    for name, prompts in lines.items():
        (trained / f"{name}.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    return trained


REFUSED = [
    ("ppo", "--rounds 0", "rounds is 0: it must be at least 1"),
    ("ppo", "--minibatch-size 8", "minibatch_size 8 is more than the batch_size 4"),
    ("ppo", "--temperature 0", "the temperature is 0.0: a policy that learns must be drawn from"),
    ("ppo", "--temperature nan", "the temperature is nan"),
    ("ppo", "--kl-coef -1", "kl_coef is -1.0: it must be 0 or more"),
    ("ppo", "--kl-coef 1e38", "kl_coef is 1e+38: more than 1,000,000 drowns every reward"),
    ("ppo", "--missing-eos-penalty inf", "missing_eos_penalty is inf: more than 1,000,000"),
    ("ppo", "--seed 9223372036854775807", "the seed is 9223372036854775807: it must lie between"),
    ("dpo", "--seed -99999999999999999999", "the seed is -99999999999999999999: it must lie between"),
    ("ppo", "--kl-coef 0 --target-kl 3", "target_kl 3.0 moves kl_coef, which is 0 and would stay there"),
    ("ppo", "--clip-range 0", "clip_range is 0.0: it must be positive"),
    ("ppo", "--learning-rate inf", "learning_rate is inf: it must be finite"),
    ("ppo", "--learning-rate -1", "learning_rate is -1.0: it must be positive"),
    ("ppo", "--algorithm grpo --group-size 3", "batch_size 4 must be a multiple of group_size 3"),
    (
        "ppo",
        "--group-size 2",
        "has no use here: ppo has no groups, as --algorithm grpo and reinforce have; leave",
    ),
    ("ppo", "--algorithm reinforce --group-size 2 --epochs 3", "--epochs has no use here: reinforce takes one step"),
    ("ppo", "--unfreeze", "--unfreeze has no use here: in ppo all layers learn from the beginning"),
    ("ppo", "--layer-decay 0.5", "--layer-decay has no use here"),
    ("ppo", "--method lora --learning-rate 1e-4", "what --method lora learns has --adapter-learning-rate"),
    ("dpo", "--method lora --learning-rate 1e-4", "what --method lora learns has --adapter-learning-rate"),
    ("reward", "--method lora --matrix-learning-rate 1e-4", "what --method lora learns has --adapter-learning-rate"),
    ("ppo", "--method lora --adapter-dropout 0.1", "--adapter-dropout has no use here: in ppo dropout is off"),
    (
        "dpo",
        "--method lora --adapter-dropout 0.1",
        "--adapter-dropout has no use here: preferences are learned without",
    ),
    ("reward", "--method lora --adapter-dropout 0.1", "--adapter-dropout has no use here"),
    ("ppo", "--method adalora", "--method adalora shares out its ranks over the steps of a loss"),
    ("ppo", "--from {}/lstm", "is of kind LSTMLM: what is aligned is a decoder"),
    (
        "ppo",
        "--from {}/encoder",
        "holds an Encoder, which reads both ways and writes none: this needs a run",
    ),
    ("ppo", "--from {}/reward", "holds a RewardModel, which says how good an answer is and writes none"),
    ("ppo", "--reward {}/classifier", "holds a SequenceClassifier, and ppo needs a reward model"),
    ("ppo", "--reward {}/lstm", "holds an LSTMLM, and ppo needs a reward model"),
    ("ppo", "--reward {}/broken", "holds numbers that are not finite, as of a run that diverged"),
    ("ppo", "--reward {}/silent", "finds all answers alike: it has learned nothing to go by"),
    ("ppo", "--reward {}/nowhere", "nowhere holds no run"),
    ("dpo", "--learning-rate -1", "learning_rate is -1.0: it must be a number from 0 up"),
    ("reward", "--matrix-learning-rate nan", "matrix_learning_rate is nan: it must be a number from 0 up"),
    *((stage, "--method lora --alpha nan", "alpha is nan: it must be positive") for stage in ("reward", "dpo", "ppo")),
    ("dpo", "--method lora --alpha -1", "alpha is -1.0: it must be positive"),
    ("dpo", "--method adalora --alpha inf", "alpha is inf: it must be positive"),
    ("dpo", "--method ptuning --prompt-network -1", "inner is -1: it must be at least 0"),
    ("dpo", "--layer-decay nan", "layer_decay is nan: it must be positive"),
    ("reward", "--layer-decay inf", "layer_decay is inf: it must be positive"),
    ("reward", "--patience -1", "patience is -1: it must be a number from 0 up"),
    ("reward", "--method head --unfreeze", "--unfreeze has no use here: with --method head one layer learns"),
    *(("reward", f"--centre {x}", "it must be a number from 0 up") for x in ("nan", "inf", "-1")),
    *(("dpo", f"--loss simpo --gamma {x}", "it must be a number from 0 up") for x in ("nan", "inf", "-1")),
    ("reward", "--epochs -1", "--epochs -1 and --examples 0: neither may be negative"),
    ("dpo", "--examples -2", "--examples -2: neither may be negative"),
    ("ppo", "--data {}/empty.jsonl", "empty.jsonl: the file is empty (0 bytes)"),
    ("ppo", "--data {}/one.jsonl", "one.jsonl: holds one prompt, and comparing needs a second"),
    ("ppo", "--data {}/often.jsonl", "often.jsonl: holds one prompt, and comparing needs a second"),
    ("ppo", "--data {}/long.jsonl", "long.jsonl:2: a prompt of 1803 tokens leaves no room for an answer"),
    ("ppo", "--test {}/long.jsonl", "long.jsonl:2: a prompt of 1803 tokens leaves no room for an answer"),
    ("ppo", "--data {}/blank.jsonl", 'blank.jsonl:2: "prompt" is empty'),
    ("dpo", "--beta 0", "is 0.0: it must be positive"),
    ("dpo", "--loss ipo --beta -1", "is -1.0: it must be positive"),
    ("dpo", "--loss simpo --beta nan", "is nan: it must be positive"),
    ("dpo", "--label-smoothing 0.5", "label_smoothing is 0.5: it must be at least 0 and below 0.5"),
    ("dpo", "--gamma 0.5", "gamma is a setting of simpo, and dpo has none: leave it out"),
    ("dpo", "--loss ipo --label-smoothing 0", "label_smoothing is a setting of dpo, and ipo has none"),
    ("dpo", "--loss simpo --label-smoothing 0.1", "label_smoothing is a setting of dpo, and simpo has none"),
    ("dpo", "--from {}/lstm", "is of kind LSTMLM: what is aligned is a decoder"),
    ("dpo", "--from {}/classifier", "holds a SequenceClassifier, which sorts texts into classes and writes none"),
    ("dpo", "--data {}/empty.jsonl", "empty.jsonl: the file is empty (0 bytes)"),
    ("reward", "--from {}/lstm", "is of kind LSTMLM: what is aligned is a decoder"),
    ("reward", "--from {}/encoder", "holds an Encoder, which reads both ways and writes none"),
    ("reward", "--data {}/prompts.jsonl", 'prompts.jsonl:1: expected a field "chosen"'),
]


def flags_of(folder, stage):
    source = ["--from", str(folder / "sft")]
    if stage == "ppo":
        return [stage, "--data", str(folder / "prompts.jsonl"), "--reward", str(folder / "reward"), *source, *ROUND]
    return [stage, "--data", str(folder / "pairs.jsonl"), *source, *SMALL]


@pytest.mark.parametrize(("stage", "flags", "sentence"), REFUSED)
def test_what_cannot_be_meant_is_one_sentence_and_leaves_nothing_behind(zoo, tmp_path, capfd, stage, flags, sentence):
    own = [] if "minibatch" in flags or "reinforce" in flags or stage != "ppo" else ["--minibatch-size", "2"]
    arguments = [*flags_of(zoo, stage), *own, *flags.format(zoo).split(), "--out", str(tmp_path / "new")]
    assert main(arguments) == 2
    told = capfd.readouterr().err
    assert told.startswith("train.py: ") and told.count("\n") == 1 and sentence in told
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("stage", ["reward", "dpo", "ppo"])
def test_a_run_below_a_file_is_one_sentence(zoo, tmp_path, capfd, stage):
    (tmp_path / "afile").write_text("mine")
    own = ["--minibatch-size", "2"] if stage == "ppo" else []
    assert main([*flags_of(zoo, stage), *own, "--out", str(tmp_path / "afile" / "new")]) == 2
    told = capfd.readouterr().err
    assert told.startswith("train.py: ") and told.count("\n") == 1 and "Errno" not in told
    assert (tmp_path / "afile").read_text() == "mine"


@pytest.mark.parametrize("stage", ["reward", "ppo"])
def test_what_diverges_says_so_on_a_line_of_its_own_and_says_it_again_when_resumed(zoo, tmp_path, capfd, stage):
    own = ["--minibatch-size", "2", "--learning-rate", "1e30"] if stage == "ppo" else ["--learning-rate", "1e38"]
    assert main([*flags_of(zoo, stage), *own, "--out", str(tmp_path / "new")]) == 2
    for _ in range(2):
        told = capfd.readouterr().err.splitlines()
        assert told[-1].startswith("train.py: the ") and "lower the learning rate" in told[-1].lower()
        assert "step/s" in told[-2] or "round/s" in told[-2]
        assert "last good checkpoint" not in told[-1]
        assert main([stage, "--resume", "--out", str(tmp_path / "new")]) == 2


def test_prompts_to_compare_on_need_prompts_to_learn_from(trained, tmp_path, capsys):
    prompts, sft, reward = (str(trained / name) for name in ("prompts.jsonl", "sft", "reward"))
    assert main(["ppo", "--test", prompts, "--from", sft, "--reward", reward, "--out", str(tmp_path / "new")]) == 2
    assert "--test needs --data" in capsys.readouterr().err and not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("stage", "flags", "sentence"),
    [
        ("ppo", ["--rounds", "5"], "where --rounds is 2, not 5"),
        ("ppo", ["--algorithm", "grpo"], "where --algorithm is ppo, not grpo"),
        ("dpo", ["--loss", "ipo"], "where --loss is dpo, not ipo"),
        ("reward", ["--centre", "1"], "where --centre is 0.01, not 1.0"),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_a_run_is_resumed_with_its_own_settings(runs, tmp_path, capsys, stage, flags, sentence):
    run = runs / "reward" if stage == "reward" else tmp_path / "new"
    if stage != "reward":
        assert main([*flags_of(runs, stage), *(["--minibatch-size", "2"] * (stage == "ppo")), "--out", str(run)]) == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main([stage, "--resume", "--out", str(run), *flags]) == 2
    assert sentence in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


# What goes on


class Killed(BaseException):
    """What nobody can catch, as a kill."""


def record(run):
    """All that a run says, but for how long it took."""
    files = [run / "log.jsonl", run / "predictions.jsonl", RunFolder(run).best_file()]
    return [path.read_bytes() for path in files]


def first_of(run):
    return json.loads((run / "log.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("more", [["--method", "lora"], ["--algorithm", "grpo", "--group-size", "2"]])
@pytest.mark.usefixtures("undrawn")
def test_a_killed_run_of_ppo_resumes_bit_for_bit(runs, monkeypatch, more):
    flags = [*flags_of(runs, "ppo"), *more, "--minibatch-size", "2", "--rounds", "3", "--target-kl", "1"]
    assert main([*flags, "--out", str(runs / "straight")]) == 0
    log = RunFolder.log

    def interrupted(self, line):
        log(self, line)
        os.kill(os.getpid(), signal.SIGINT)

    def killed(self, line):
        log(self, line)
        raise Killed

    monkeypatch.setattr(RunFolder, "log", interrupted)
    assert main([*flags, "--out", str(runs / "stopped")]) == 130
    monkeypatch.setattr(RunFolder, "log", killed)
    with pytest.raises(Killed):
        main(["ppo", "--resume", "--out", str(runs / "stopped")])
    monkeypatch.setattr(RunFolder, "log", log)
    assert main(["ppo", "--resume", "--out", str(runs / "stopped")]) == 0
    assert record(runs / "stopped") == record(runs / "straight")


@pytest.mark.parametrize(
    "stage, more",
    [
        ("dpo", ["--loss", "ipo", "--beta", "0.3"]),
        ("dpo", ["--loss", "simpo", "--gamma", "1", "--method", "ia3"]),
        ("reward", ["--centre", "3", "--method", "lora"]),
    ],
)
@pytest.mark.usefixtures("undrawn")
def test_a_killed_run_resumes_bit_for_bit_with_the_objective_that_it_began_with(runs, monkeypatch, stage, more):
    flags = [*flags_of(runs, stage), *more]
    assert main([*flags, "--out", str(runs / "straight")]) == 0
    save = RunFolder.save_training

    def killed(self, *parts, **more):
        save(self, *parts, **more)
        raise Killed

    monkeypatch.setattr(RunFolder, "save_training", killed)
    with pytest.raises(Killed):
        main([*flags, "--out", str(runs / "stopped")])
    monkeypatch.setattr(RunFolder, "save_training", save)
    assert main([stage, "--resume", "--out", str(runs / "stopped")]) == 0
    assert record(runs / "stopped") == record(runs / "straight")


# Adapters


@pytest.mark.parametrize("method", ["lora", "ia3"])
@pytest.mark.usefixtures("undrawn")
def test_adapters_on_reward_and_policy_stand_on_one_run(runs, capsys, method):
    base = load_model(runs / "sft").state_dict()
    assert main([*flags_of(runs, "reward"), "--method", method, "--out", str(runs / "judge")]) == 0
    judge = load_model(runs / "judge")
    assert judge.head.weight.abs().sum() > 0  # it learned, beside the adapter, and was kept
    assert not (runs / "judge" / "model.safetensors").exists()
    kept = remove(judge).trunk.state_dict()
    assert all(torch.equal(kept[name], base[name]) for name in base)
    flags = [*flags_of(runs, "ppo"), "--reward", str(runs / "judge"), "--method", method]
    capsys.readouterr()
    assert main([*flags, "--minibatch-size", "2", "--out", str(runs / "new")]) == 0
    told = capsys.readouterr().out
    for line in (
        f"policy: {method} ",
        "value: 17 parameters on the policy's trunk",
        f"reference: the policy's own trunk, {method}-1 switched off",
        f"reward: {runs / 'judge'}",
    ):
        assert f"\n{line}" in told
    assert first_of(runs / "new")["kl"] == 0
    assert not (runs / "new" / "model.safetensors").exists()
    kept = remove(load_model(runs / "new")).state_dict()
    assert all(torch.equal(kept[name], base[name]) for name in base)


@pytest.fixture
def tuned(runs):
    """A run of sft that trained an adapter, which makes a difference."""
    model = inject(load_model(runs / "sft"), LoRA(rank=2), "lora-1")
    for _, adapter in adapters(model):
        for parameter in adapter.own().values():
            torch.nn.init.normal_(parameter, generator=torch.Generator().manual_seed(0))
    freeze(model)
    put(runs / "tuned", model, load_tokenizer(RunFolder(runs / "sft")), runs / "sft")
    return runs


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("stage", ["ppo", "dpo", "reward"])
@pytest.mark.usefixtures("undrawn")
def test_a_policy_that_began_with_an_adapter_has_it_in_its_reference_too(tuned, stage, method):
    flags = [*flags_of(tuned, stage), "--from", str(tuned / "tuned"), "--method", method, "--out", str(tuned / "new")]
    own = {"ppo": ["--minibatch-size", "2"], "dpo": ["--rehearse-answers", "0"], "reward": []}[stage]
    assert main([*flags, *own]) == 0
    first = first_of(tuned / "new")
    if stage == "ppo":
        assert first["kl"] == pytest.approx(0, abs=1e-5)
    else:
        assert first["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert load_model(tuned / "new") is not None  # which a whole model with the adapter's names in it would not be


@pytest.mark.usefixtures("undrawn")
def test_a_prompt_cannot_be_folded_into_what_learns_as_a_whole(runs, capsys):
    method = ["--method", "prompt", "--prompt-length", "2"]
    assert main([*flags_of(runs, "dpo"), *method, "--out", str(runs / "prompted")]) == 0
    assert first_of(runs / "prompted")["loss"] > 0
    flags = [*flags_of(runs, "dpo"), "--from", str(runs / "prompted"), "--out", str(runs / "new")]
    assert main(flags) == 2
    assert "cannot be merged; what such a run can begin with is another adapter" in capsys.readouterr().err
    assert not (runs / "new").exists()


# Your own files


@pytest.mark.usefixtures("undrawn")
def test_where_nobody_knows_the_truth_nothing_is_said_of_it(runs):
    for stage in ("reward", "dpo", "ppo"):
        extra = ["--minibatch-size", "2"] if stage == "ppo" else []
        assert main([*flags_of(runs, stage), *extra, "--out", str(runs / f"my-{stage}")]) == 0
        for name in ("metrics.json", "log.jsonl"):
            text = (runs / f"my-{stage}" / name).read_text()
            assert "tru" not in text.replace("true", "", text.count(": true")) and "NaN" not in text


@pytest.mark.parametrize("score", [float("nan"), True, "good", [1]])
def test_a_true_score_that_is_no_number_is_refused_with_its_line(tmp_path, score):
    rows = [{"prompt": "a", "chosen": f"b{i}", "rejected": "c", "chosen_score": 1, "rejected_score": 0} for i in "12"]
    rows[1]["rejected_score"] = score
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ValueError, match=r'pairs.jsonl:2: expected "rejected_score" to be a number'):
        read_preferences(tmp_path / "pairs.jsonl")


def test_true_scores_of_a_table_are_numbers_and_a_missing_one_is_unknown(tmp_path):
    lines = ["prompt,chosen,rejected,chosen_score,rejected_score", "a,b,c,2.5,-1", "a,d,e,1,"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    assert [pair.truth for pair in read_preferences(tmp_path / "pairs.csv")] == [(2.5, -1.0), None]


def test_no_prompt_is_learned_from_and_watched_too_and_a_turned_pair_is_the_same_pair(tmp_path):
    pairs = [{"prompt": f"p{i % 6}", "chosen": f"good {i}", "rejected": "bad"} for i in range(36)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    parts = load_parts(read_preferences, tmp_path / "pairs.jsonl", None, None, 0.2, 0)
    learned, watched = ({record.texts[0] for record in part} for part in (parts.train, parts.valid))
    assert learned and watched and not learned & watched
    turned = {"prompt": "p1", "chosen": "bad", "rejected": "good 1"}
    (tmp_path / "valid.jsonl").write_text(json.dumps(turned) + "\n")
    assert (
        len(load_parts(read_preferences, tmp_path / "pairs.jsonl", tmp_path / "valid.jsonl", None, 0.2, 0).train) == 35
    )
    (tmp_path / "one.jsonl").write_text((json.dumps(turned) + "\n") * 3)
    with pytest.raises(ValueError, match=r"one\.jsonl: holds one example, and measuring needs a second"):
        load_parts(read_preferences, tmp_path / "one.jsonl", None, None, 0.2, 0)


def test_a_run_with_settings_of_another_version_is_not_resumed(runs, capsys):
    config = RunFolder(runs / "reward").config()
    (runs / "reward" / "config.json").write_text(json.dumps(config | {"settings": config["settings"] | {"old": 1}}))
    assert main(["reward", "--resume", "--out", str(runs / "reward")]) == 2
    assert "settings of another version of minillm (old): begin it anew" in capsys.readouterr().err


@pytest.mark.parametrize("stage, other", [("dpo", "reward"), ("reward", "sft"), ("ppo", "reward"), ("bigram", "sft")])
def test_a_run_of_another_stage_is_not_resumed(runs, capsys, stage, other):
    before = {path: path.read_bytes() for path in (runs / other).rglob("*") if path.is_file()}
    assert main([stage, "--resume", "--out", str(runs / other)]) == 2
    own = RunFolder(runs / other).config()["stage"]
    sentence = f"{runs / other} is a run of {own}, not of {stage}: resume it by `python train.py {own}`"
    assert sentence in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in (runs / other).rglob("*") if path.is_file()}


@pytest.mark.parametrize("scores", [(1, 1), (2, None)])
@pytest.mark.usefixtures("undrawn")
def test_true_scores_that_tell_nothing_apart_are_left_out(runs, scores):
    pairs = [json.loads(line) for line in (runs / "pairs.jsonl").read_text().splitlines()]
    scored = [{**pair, "chosen_score": scores[0], "rejected_score": scores[1]} for pair in pairs]
    (runs / "scored.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in scored))
    flags = [*flags_of(runs, "reward"), "--data", str(runs / "scored.jsonl"), "--max-steps", "1"]
    assert main([*flags, "--out", str(runs / "new")]) == 0
    assert "agrees_with_truth" not in metrics(runs / "new")


@pytest.mark.usefixtures("undrawn")
def test_two_prompts_and_a_table_of_pairs_are_enough(runs):
    (runs / "two.csv").write_text("prompt\nsay 1\nsay 2\n")
    flags = [*flags_of(runs, "ppo"), "--minibatch-size", "4", "--data", str(runs / "two.csv")]
    assert main([*flags, "--out", str(runs / "new")]) == 0
    assert main([*flags, "--show", "--out", str(runs / "shown")]) == 0 and not (runs / "shown").exists()
    (runs / "pairs.tsv").write_text("prompt\tchosen\trejected\nsay 1\tgood\tbad\nsay 2\tkind\tno\n")
    assert main([*flags_of(runs, "dpo"), "--data", str(runs / "pairs.tsv"), "--out", str(runs / "table")]) == 0
