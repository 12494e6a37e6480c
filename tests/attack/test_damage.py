"""Damage: run folders with one file of theirs changed, cut, emptied or swapped, and every command that reads them.

Each says in one sentence, with exit status 2, which file is wrong, or it works; never a traceback. What cannot go on
leaves the folder as it was. `ATTACKS=500 pytest -m attack tests/attack/test_damage.py`; ATTACK_SEED chooses others.
"""

import json
import os
import random
import shutil

import pytest
import torch
from sandbox import ATTACKS, COMMANDS, KILLED, MACHINE, SEED, contents, digest, fresh, run

from minillm.cli.flags import program
from minillm.system import load_file, save_file, sweep

pytestmark = pytest.mark.attack
ASK = {
    "pretrain": (["generate", "--max-new-tokens", "4"], ["eval", "--data", "text.txt"], ["chat"]),
    "mlm": (
        ["mlm", "--data", "text.txt", "--max-steps", "1"],
        ["classify", "--data", "labels.jsonl", "--max-steps", "1"],
    ),
    "classify": (["predict", "--text", "a red film"], ["eval", "--data", "labels_test.jsonl"]),
    "tag": (["predict", "--text", "a red film"], ["eval", "--data", "tags_test.jsonl"]),
    "encode": (["predict", "--text", "a red film"],),
    "sft": (["chat"], ["sft", "--data", "talks.jsonl", "--test", "talks_test.jsonl", "--max-steps", "1"]),
    "reward": (["ppo", *COMMANDS["ppo"][1:], "--rounds", "1", "--reward", "REWARD"],),
    "classify-lora": (["merge"], ["predict", "--text", "a red film"]),
    "second-lora": (["predict", "--text", "a red film"], ["merge"]),
    "classify-prompt": (["predict", "--text", "a red film"],),
}
RESUMED = ("pretrain", "mlm", "classify", "classify-adalora", "sft", "dpo", "ppo", "ppo-lora")
VALUES = (None, "x", "", -1, 0, 3, 1e9, 10**30, float("nan"), float("inf"), [], {}, [1], {"a": 1}, True, "\0", "\ud800")


def deep() -> str:
    return "[" * 100_000 + "]" * 100_000


def change_json(value, draw: random.Random):
    """Change one thing, somewhere in a JSON value."""
    if isinstance(value, dict | list) and value and draw.random() < 0.75:
        key = draw.choice(list(value)) if isinstance(value, dict) else draw.randrange(len(value))
        how = draw.random()
        if how < 0.2:
            del value[key]
        elif how < 0.3 and isinstance(value, dict):
            value[f"{key}_"] = value.pop(key)
        else:
            value[key] = change_json(value[key], draw)
        return value
    return draw.choice(VALUES)


def change_bytes(content: bytes, draw: random.Random) -> bytes:
    """What a full disk, a lost block or a bad cable leaves of a file."""
    at = draw.randrange(len(content) + 1)
    size = draw.choice((1, 16, 4096))
    return draw.choice(
        (
            b"",
            content[:at],
            content[:at] + bytes(len(content) - at),
            content[:at] + bytes(size) + content[at + size :],
            content[:at] + draw.randbytes(size) + content[at + size :],
            content + content[-size:],
            bytes(len(content)),
            draw.randbytes(64),
            deep().encode(),
        )
    )


def change_tensors(path, draw: random.Random) -> None:
    """A file whose checksum is right, and which is wrong all the same."""
    tensors, metadata = load_file(path)
    name = draw.choice(sorted(tensors))
    how = draw.randrange(7)
    if how == 0:
        del tensors[name]
    elif how == 1:
        tensors[f"{name}_"] = tensors.pop(name)
    elif how == 2:
        tensors[name] = tensors[name].new_zeros(3, 2)
    elif how == 3 and tensors[name].is_floating_point():
        tensors[name] = torch.full_like(tensors[name], draw.choice((float("nan"), float("inf"))))
    elif how == 4:
        tensors[name] = tensors[name].to(torch.int8)
    elif metadata:
        key = draw.choice(sorted(metadata))
        try:
            value = json.loads(metadata[key])
        except ValueError:  # a text
            value = metadata[key]
        changed = deep() if how == 5 else json.dumps(change_json(value, draw))
        metadata[key] = draw.choice((changed, changed, changed, "", "{}"))
    save_file(tensors, path, metadata)


def damage(run_folder, draw: random.Random) -> str:
    """Change one file of a run. Returns: which, and how."""
    files = sorted(path for path in run_folder.rglob("*") if path.is_file() and path.suffix not in (".png", ".txt"))
    path = draw.choice(files)
    how = draw.random()
    if how < 0.08:
        path.unlink()
        return f"{path.name} deleted"
    if how < 0.14:
        other = draw.choice(files)
        path.write_bytes(other.read_bytes())
        return f"{path.name} is {other.name}"
    if how < 0.18:
        path.unlink()
        path.mkdir()
        return f"{path.name} is a folder"
    if how < 0.55 or path.suffix == ".jsonl":
        path.write_bytes(change_bytes(path.read_bytes(), draw))
        return f"{path.name}: bytes"
    if path.suffix == ".json":
        path.write_text(json.dumps(change_json(json.loads(path.read_text()), draw)))
        return f"{path.name}: JSON"
    change_tensors(path, draw)
    return f"{path.name}: tensors"


def everything(folder) -> dict:
    return {str(path): path.is_dir() or digest(path.read_bytes()) for path in folder.rglob("*")}


def check(ended, what) -> None:
    """A command that works, or says in one sentence what does not."""
    assert ended.status in (0, 2), (what, ended)
    said = ended.said.strip().split("\n")[-1]
    assert "Traceback" not in ended.said and "did not expect" not in ended.said, (what, ended)
    assert ended.status == 0 or (said.split(": ")[0] == program().split()[-1] and len(said) < 700), (what, said)


@pytest.fixture(scope="module")
def kept(zoo):
    """Runs to damage, whole and stopped half-way, beside those that others stand on."""
    for name in ASK:
        ended = run([*COMMANDS[name], "--out", f"whole-{name}"], zoo)
        assert ended.status == 0, ended
    for name in RESUMED:
        at, out = 20, zoo / "out"
        while not (out / "last" / "training.safetensors").exists():
            fresh(zoo, "out")
            assert run([*COMMANDS[name], "--out", "out"], zoo, die_at=(at := at + 3)).status == KILLED
        sweep(out)
        out.rename(zoo / f"half-{name}")
    return zoo


@pytest.mark.parametrize("name", ASK)
def test_a_damaged_run_is_refused_in_a_sentence_by_what_reads_it(kept, name):
    draw = random.Random(f"{name}{SEED}")
    for _ in range(max(ATTACKS // (len(ASK) + len(RESUMED)), 1)):
        fresh(kept, "out", "broken")
        shutil.copytree(kept / f"whole-{name}", kept / "broken")
        what = damage(kept / "broken", draw)
        before = everything(kept / "broken")
        for command in ASK[name]:
            fresh(kept, "out")
            trains = command[0] in COMMANDS
            ppo = [word if word != "REWARD" else "broken" for word in command]
            more = [] if command[0] == "ppo" else ["--from", "broken"]
            more += ["--out", "out"] if trains else []
            ended = run([*ppo, *more, *([] if command[0] == "merge" else MACHINE)], kept)
            check(ended, (what, command[0]))
            assert everything(kept / "broken") == before, what
            if ended.status:
                assert not (kept / "out").exists() or (kept / "out" / "config.json").exists(), (what, ended)


@pytest.mark.parametrize("name", RESUMED)
def test_a_damaged_run_is_resumed_or_refused_in_a_sentence_and_stays_as_it_was(kept, name):
    draw = random.Random(f"{name}{SEED}")
    command = [COMMANDS[name][0], "--resume", "--out", "out"]
    for _ in range(max(ATTACKS // (len(ASK) + len(RESUMED)), 1)):
        fresh(kept, "out")
        shutil.copytree(kept / f"half-{name}", kept / "out")
        (kept / "out" / ".lock").unlink()
        what = damage(kept / "out", draw)
        before = everything(kept / "out")
        ended = run(command, kept)
        check(ended, (what, name))
        if ended.status and "training stopped" not in ended.said and "gradient is" not in ended.said:
            assert everything(kept / "out") == before, (what, ended)


@pytest.mark.parametrize("name", ["pretrain", "ppo-lora"])
def test_a_log_that_ends_in_zeros_or_half_a_line_does_not_stop_a_resume(kept, name):
    lost = (b'{"step": 3, "lo', b'{"step": 3, "loss": ', bytes(64), bytes(64) + b"\n", b"[1]\n", b"\xff\xfe\n", b"{}\n")
    fresh(kept, "out")
    assert run([*COMMANDS[name], "--out", "out"], kept).status == 0
    whole = contents(kept / "out")
    for tail in lost:
        fresh(kept, "out")
        shutil.copytree(kept / f"half-{name}", kept / "out")
        with open(kept / "out" / "log.jsonl", "ab") as file:
            file.write(tail)
        ended = run([*COMMANDS[name], "--out", "out", "--resume"], kept)
        assert ended.status == 0, ended
        assert contents(kept / "out") == whole, tail


def test_an_adapter_that_stands_on_itself_is_refused(kept):
    """By way of one run, and of two."""
    fresh(kept, "out", "broken")
    for name, base in (("broken", "broken"), ("out", "whole-classify-lora")):
        shutil.copytree(kept / "whole-classify-lora", kept / name)
        path = kept / name / "config.json"
        config = json.loads(path.read_text())
        weights = digest((kept / "whole-classify-lora" / "adapter.safetensors").read_bytes())
        config["base"] |= {"run": os.path.join("..", base), "weights": weights}
        path.write_text(json.dumps(config))
    ended = run(["predict", "--from", "broken", "--text", "x"], kept)
    assert ended.status == 2 and "an adapter cannot stand on itself" in ended.said
    config["base"]["run"] = "../broken"
    (kept / "out" / "config.json").write_text(json.dumps(config))
    other = json.loads((kept / "broken" / "config.json").read_text())
    other["base"]["run"] = "../out"
    (kept / "broken" / "config.json").write_text(json.dumps(other))
    ended = run(["predict", "--from", "out", "--text", "x"], kept)
    assert ended.status == 2 and "an adapter cannot stand on itself" in ended.said
