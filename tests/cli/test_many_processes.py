"""Commands under torchrun: the losses of one process, kills, resuming with another number, models in parts.

`DISTRIBUTED=60 pytest -m distributed` takes 60 steps of each command, with 2 and with 3 processes.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minillm.system import load_file

pytestmark = [pytest.mark.distributed, pytest.mark.xdist_group("torchrun")]
STEPS = int(os.environ.get("DISTRIBUTED", 12))
WORLDS = (2, 3) if STEPS >= 60 else (2,)
ROOT = Path(__file__).resolve().parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--rdzv-backend", "c10d"]
TORCHRUN += ["--rdzv-endpoint", "127.0.0.1:0", "--nproc-per-node"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}
EACH = "import json, sys; from minillm.cli import main\nfor words in json.loads(sys.argv[1]): assert main(words) == 0"
NAMES, THINGS = "Mira Tom Sam Ada Max Lena".split(), "kite lamp drum coin book".split()
SIZE = ("--vocab-size 300 --depth 2 --width 32 --heads 2 --context 128").split()
GENTLE = "--learning-rate 1e-3".split()  # a rate at which a difference in the last bit does not grow in 60 steps


def tale(dice: random.Random) -> str:
    """A few sentences; some tales are three times as long as others."""
    more = [f"{dice.choice(NAMES)} saw the {dice.choice(THINGS)}." for _ in range(dice.randrange(6))]
    return f"{dice.choice(NAMES)} had a {dice.choice(THINGS)}. {' '.join(more)} In the end it was lost."


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with small files of every kind."""
    folder, dice = tmp_path_factory.mktemp("home"), random.Random(0)
    (folder / "text.txt").write_text("\n\n".join(tale(dice) for _ in range(120)))

    def write(name: str, row) -> None:
        (folder / name).write_text("".join(json.dumps(row()) + "\n" for _ in range(60)))

    said = lambda: f"{dice.choice(NAMES)} did." + " Really." * dice.randrange(3)  # noqa: E731
    write("classify.jsonl", lambda: {"text": tale(dice), "label": dice.choice(["good", "bad", "odd"])})
    write("sft.jsonl", lambda: {"prompt": "Who? " + tale(dice), "completion": said()})
    write("pairs.jsonl", lambda: {"prompt": "Who? " + tale(dice), "chosen": said(), "rejected": "nobody at all"})
    write("prompts.jsonl", lambda: {"prompt": "Who? " + tale(dice)})
    return folder


def commands(shard: bool = False) -> dict[str, list[str]]:
    """One run of each command, into a folder of its name; micro-batches are ragged."""
    text = ["--data", "text.txt", *SIZE]
    rows = {
        "pretrain": ["pretrain", *text, "--batch-size", "2", "--samples", "1"],
        "adamw": ["pretrain", *text, "--batch-size", "2", "--optimizer", "adamw", "--samples", "1"],
        "mlm": ["mlm", *text, "--batch-size", "2", *GENTLE, "--head-learning-rate", "1e-3"],
        "sft": ["sft", "--from", "OUT/pretrain", "--data", "sft.jsonl", "--batch-size", "1", *GENTLE],
        "lora": "sft --from OUT/pretrain --data sft.jsonl --batch-size 1 --method lora --rehearse 0.2".split(),
        "classify": "classify --from OUT/mlm --data classify.jsonl --dropout 0 --batch-size 2".split(),
        "reward": ["reward", "--from", "OUT/sft", "--data", "pairs.jsonl", "--batch-size", "1"],
        "dpo": ["dpo", "--from", "OUT/sft", "--data", "pairs.jsonl", "--batch-size", "1"],
    }
    rows["lora"] += ["--adapter-learning-rate", "1e-3"]
    rows["classify"] += [*GENTLE, "--matrix-learning-rate", "1e-3"]
    rows = {name: [*words, "--accumulate", "6", "--max-steps", str(STEPS)] for name, words in rows.items()}
    ppo = "ppo --from OUT/sft --reward OUT/reward --data prompts.jsonl --rounds 2 --batch-size 12 --minibatch-size 6"
    rows = {name: [*words, *["--shard"] * shard] for name, words in rows.items()}
    rows |= {} if shard else {"ppo": [*ppo.split(), "--max-new-tokens", "12"]}
    return {
        name: [*words, "--dtype", "fp32", "--device", "cpu", "--out", f"OUT/{name}"] for name, words in rows.items()
    }


def start(world: int, program: list[str], home: Path, restarts: int = 0) -> subprocess.Popen:
    """A program of Python, so many times at once."""
    first = [sys.executable] if world == 1 else [*TORCHRUN, str(world), "--max-restarts", str(restarts)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    mark = str(random.random())  # by which all that it starts are known
    environment = ENVIRONMENT | {"STARTED_AS": mark}
    process = subprocess.Popen([*first, *program], cwd=home, env=environment, start_new_session=True, **pipes)
    process.mark = mark
    return process


@pytest.fixture(scope="module")
def alone(home):
    """The runs of one process."""
    return all_commands(home, 1)


def all_commands(home: Path, world: int, shard: bool = False) -> Path:
    """Every command, by so many processes."""
    out, program = home / f"out{world}{shard}", home / "each.py"
    program.write_text(EACH)
    rows = [[word.replace("OUT", out.name) for word in words] for words in commands(shard).values()]
    if world > 1:  # each begins with what one process made, so that differences are those of one stage
        begins = [[("--from", "--reward").count(before) for before in ["", *words]] for words in rows]
        rows = [[w.replace(out.name, "out1False") if b else w for w, b in zip(*row)] for row in zip(rows, begins)]
    process = start(world, [str(program), json.dumps(rows)], home)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said[-3000:]
    return out


def log(run: Path) -> list[dict]:
    """The lines of a run's log."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def apart(one: Path, other: Path) -> float:
    """How far the losses of two runs are apart, at most, validation among them."""
    rows = log(one), log(other)
    assert len(rows[0]) == len(rows[1])
    pairs = [(a[key], b[key]) for a, b in zip(*rows) for key in ("loss", "val_loss") if key in a]
    return max(abs(a - b) for a, b in pairs)


@pytest.mark.parametrize("world", WORLDS)
def test_several_processes_have_the_losses_of_one(home, alone, world):
    out = all_commands(home, world)
    found = {name: apart(alone / name, out / name) for name in commands() if name != "ppo"}
    print(world, {name: f"{value:.1e}" for name, value in found.items()})
    assert max(found.values()) <= 2e-6, found
    assert len(log(out / "ppo")) == 2 and (out / "ppo" / "metrics.json").exists()


def test_a_model_in_parts_has_the_losses_of_a_whole_one_and_leaves_the_same_files(home, alone):
    out = all_commands(home, 2, shard=True)
    found = {name: apart(alone / name, out / name) for name in commands(shard=True)}
    print({name: f"{value:.1e}" for name, value in found.items()})
    assert max(found.values()) <= 2e-6, found
    for name in found:
        for file in ("model.safetensors", "adapter.safetensors", "last/training.safetensors"):
            one, other = alone / name / file, out / name / file
            assert one.exists() == other.exists(), (name, file)
            if one.exists():
                shapes = ({key: tensor.shape for key, tensor in load_file(path)[0].items()} for path in (one, other))
                assert next(shapes) == next(shapes)


# Kills

PRETRAIN = ["pretrain", "--data", "text.txt", *SIZE, "--batch-size", "2", "--accumulate", "6", "--max-steps", "60"]
PRETRAIN += ["--eval-every", "6", "--samples", "1", "--dtype", "fp32", "--device", "cpu"]


def pretrain(home: Path, out: str, world: int, *more: str) -> subprocess.Popen:
    """Start the command."""
    return start(world, [str(ROOT / "train.py"), *PRETRAIN, "--out", out, *more], home)


def ended(process: subprocess.Popen, within: float = 300) -> str:
    """What a process had said when it ended; nothing that it started is left."""
    try:
        said, _ = process.communicate(timeout=within)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert not members(process), "a process is left"
    return said


def members(process: subprocess.Popen) -> dict[str, int]:
    """The processes that live of those that one has started, by rank; torchrun itself has none."""
    found = {}
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = dict(word.partition("=")[::2] for word in environ.read_text(errors="replace").split("\0"))
        except OSError:
            continue
        if words.get("STARTED_AS") == process.mark:
            found[words.get("RANK", "")] = int(environ.parent.name)
    return found


def reached(run: Path, step: int, process: subprocess.Popen) -> None:
    """Wait until a run has come to a step."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if (run / "log.jsonl").exists() and len((run / "log.jsonl").read_text().splitlines()) >= step:
            return
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError(f"it never got there: {process.communicate()[0][-2000:]}")


@pytest.fixture(scope="module")
def undisturbed(home):
    """The run of two processes that nobody stops."""
    said = ended(pretrain(home, "whole", 2))
    assert (home / "whole" / "metrics.json").exists(), said
    return home / "whole"


@pytest.mark.parametrize("way", ["one", "all", "interrupt"] if STEPS >= 60 else ["one"])
def test_a_run_of_two_that_is_stopped_goes_on_with_two_with_one_and_with_three(home, undisturbed, way):
    process = pretrain(home, way, 2)
    reached(home / way, 1, process)
    workers = members(process)
    reached(home / way, 9, process)
    began = time.monotonic()
    if way == "one":
        os.kill(workers["1"], signal.SIGKILL)
    elif way == "all":
        for one in workers.values():  # torchrun among them
            os.kill(one, signal.SIGKILL)
    else:
        os.kill(process.pid, signal.SIGINT)  # torchrun passes it on
    said = ended(process, within=40)
    assert time.monotonic() - began < 30 and process.returncode != 0
    if way == "one":
        assert said.count("another process of this run has ended") == 1 and "Traceback" not in said.split("torch/")[0]
    if way == "interrupt":
        assert "go on with: " in said
        assert load_file(home / way / "last" / "training.safetensors")  # all that was done is kept
    for world in (2, 1, 3) if STEPS >= 60 else (2, 1):
        copy = home / f"{way}{world}"
        shutil.copytree(home / way, copy)
        said = ended(pretrain(home, copy.name, world, "--resume"))
        assert (copy / "metrics.json").exists(), said
        if world == 2:
            assert (copy / "log.jsonl").read_bytes() == (undisturbed / "log.jsonl").read_bytes()
            assert (copy / "model.safetensors").read_bytes() == (undisturbed / "model.safetensors").read_bytes()
        assert apart(copy, undisturbed) <= 2e-6


def test_torchrun_lets_a_run_go_on_by_itself(home, undisturbed):
    process = start(2, [str(ROOT / "train.py"), *PRETRAIN, "--out", "again"], home, restarts=1)
    reached(home / "again", 9, process)
    os.kill(members(process)["1"], signal.SIGKILL)
    assert "validation loss" in ended(process) and process.returncode == 0
    assert (home / "again" / "log.jsonl").read_bytes() == (undisturbed / "log.jsonl").read_bytes()


def test_what_cannot_be_shared_is_said_once(home):
    said = ended(start(2, [str(ROOT / "train.py"), *PRETRAIN, "--out", "odd", "--accumulate", "3"], home))
    assert said.count("--accumulate is 3, which 2 processes cannot share evenly") == 1
    assert not (home / "odd").exists()
