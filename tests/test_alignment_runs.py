"""The stages reward, dpo and ppo: what they write, that they go on, and what they refuse."""

import json
import shutil

import pytest

from minillm.cli import main

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
    assert main(["dpo", *flags, *more]) == 0
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
def test_a_bad_pair_stops_with_its_place(runs, capsys, stage, record, message):
    bad = runs / "bad.jsonl"
    bad.write_text(json.dumps(record) + "\n" + (runs / "pairs.jsonl").read_text())
    flags = ["--data", str(bad), "--valid", str(runs / "pairs.jsonl"), "--from", str(runs / "sft"), *SMALL]
    assert main([stage, *flags, "--out", str(runs / "new")]) == 2
    assert message in capsys.readouterr().err
    assert not (runs / "new").exists()


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
