"""`ppo --reward exact` from the command line: no reward model, puzzles, the share that is right before and after."""

import json

import pytest

from minillm.cli import main
from minillm.tales import make_puzzle_instructions, make_puzzles, solve

ROUNDS = "--rounds 2 --batch-size 8 --minibatch-size 8 --epochs 1 --max-new-tokens 12 --device cpu --dtype fp32".split()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A model that has seen a few puzzles, and puzzles to learn on."""
    folder = tmp_path_factory.mktemp("exact")
    puzzles = make_puzzles(60, 0, [1, 2])
    chats = make_puzzle_instructions(puzzles, 0)
    (folder / "sft.jsonl").write_text("".join(json.dumps({"messages": chat["messages"]}) + "\n" for chat in chats))
    (folder / "text.txt").write_text("\n\n".join(f"{p.prompt} {p.worked}" for p in puzzles))
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"prompt": p.prompt}) + "\n" for p in puzzles))
    size = "--depth 1 --width 16 --heads 2 --context 64 --vocab-size 330 --max-steps 2 --device cpu".split()
    assert main(["pretrain", "--data", str(folder / "text.txt"), *size, "--out", str(folder / "base")]) == 0
    tune = ["sft", "--from", str(folder / "base"), "--data", str(folder / "sft.jsonl"), "--max-steps", "2"]
    assert main([*tune, "--device", "cpu", "--out", str(folder / "sft")]) == 0
    return folder


def grpo(run, out, *arguments):
    command = ["ppo", "--algorithm", "grpo", "--reward", "exact", "--from", str(run / "sft"), "--out", str(out)]
    return main([*command, "--data", str(run / "prompts.jsonl"), *ROUNDS, *map(str, arguments)])


def test_grpo_needs_no_reward_model_and_says_how_many_are_right(run, tmp_path, capsys):
    extra = "--group-size 4 --no-scale --clip-high 0.3 --weigh answer --length-cost 0.01 --drop-alike".split()
    assert grpo(run, tmp_path / "a", *extra) == 0
    metrics = json.loads((tmp_path / "a" / "metrics.json").read_text())
    assert 0 <= metrics["reward"] <= 1 and 0 <= metrics["reward_before"] <= 1
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["settings"]["clip_high"] == 0.3 and config["settings"]["scale"] is False
    log = [json.loads(line) for line in (tmp_path / "a" / "log.jsonl").read_text().splitlines()]
    assert "right" in log[-1] and 0 <= log[-1]["alike"] <= 1
    assert "reward: exact" in capsys.readouterr().out
    assert main(["ppo", "--resume", "--out", str(tmp_path / "a")]) == 0
    assert "is finished, after 2 steps" in capsys.readouterr().out


def test_without_prompts_the_world_has_puzzles_and_rloo_learns_from_them(run, tmp_path):
    command = ["ppo", "--algorithm", "rloo", "--reward", "exact", "--from", str(run / "sft"), "--rounds", "1"]
    more = ["--batch-size", "8", "--max-new-tokens", "3", "--device", "cpu", "--dtype", "fp32"]
    assert main([*command, *more, "--out", str(tmp_path / "b")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "b" / "predictions.jsonl").read_text().splitlines()]
    assert len(rows) == 200 and all(solve(row["prompt"]) for row in rows)


def test_what_no_program_can_check_and_flags_without_use_are_refused(run, tmp_path, capsys):
    (tmp_path / "p.jsonl").write_text('{"prompt": "hello"}\n{"prompt": "you"}\n')
    cases = [
        (["--data", tmp_path / "p.jsonl"], "among the prompts is no puzzle whose answer can be checked: 'hello'"),
        (["--algorithm", "ppo", "--clip-high", "0.3"], "--clip-high has no use here"),
        (["--algorithm", "ppo", "--no-scale"], "--scale has no use here"),
        (["--algorithm", "rloo"], "--epochs has no use here: rloo takes one step a round"),
        (["--length-cost", "-1"], "length_cost is -1"),
    ]
    for arguments, complaint in cases:
        assert grpo(run, tmp_path / "x", *arguments) == 2
        assert complaint in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
