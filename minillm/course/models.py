"""The trained models that lessons stand on: the same weights on every machine.

They come with the repository, in data/models/, trained in fp32 and kept in half precision; `python train.py models`
trains and writes them anew. Where they are absent, or with MINILLM_OWN_MODELS=1, a lesson takes the runs of the same
names in runs/, and trains them first.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from minillm.report import use_style
from minillm.system import load_file, save_file, write_json
from minillm.training import RunFolder

CHECKOUT = Path(__file__).resolve().parents[2]
ROOT = CHECKOUT if (CHECKOUT / "notebooks").is_dir() else Path.cwd()  # where runs/ is: beside the notebooks
MAKERS = {  # name of the run: the command that makes it, and the run that it begins with
    "pretrain": (("pretrain",), ""),
    "mlm": (("mlm",), ""),
    "lstm": (("pretrain", "--model", "lstm"), ""),
    "sft": (("sft",), "pretrain"),
    "letters": (("sft", "--task", "letters"), "sft"),
    "reward": (("reward",), "letters"),
}
MINUTES = {"pretrain": 2, "mlm": 4, "lstm": 2, "sft": 4, "letters": 2, "reward": 1}  # on two idle cores
KEPT = {  # the files of a run that lessons read, beside its weights
    **dict.fromkeys(MAKERS, ("config.json", "tokenizer.json", "metrics.json")),
    **dict.fromkeys(("pretrain", "sft"), ("config.json", "tokenizer.json", "metrics.json", "log.jsonl")),
    "reward": ("config.json", "tokenizer.json", "metrics.json", "predictions.jsonl"),
}


def begin() -> None:
    """What a lesson begins with: the house style of pictures, and fp32 where "auto" would choose a precision.

    So the numbers are nearly the same on every machine; the variable MINILLM_DTYPE takes another precision.
    """
    use_style()
    os.environ.setdefault("MINILLM_DTYPE", "fp32")


def default_run() -> RunFolder:
    """The model of `python train.py`: ready, or a run in runs/pretrain; see `found_or_made`, as for those below."""
    return found_or_made("pretrain")


def mlm_run() -> RunFolder:
    """The model of `python train.py mlm`: an encoder."""
    return found_or_made("mlm")


def lstm_run() -> RunFolder:
    """The model of `python train.py pretrain --model lstm`."""
    return found_or_made("lstm")


def sft_run() -> RunFolder:
    """The model of `python train.py sft`: one that answers."""
    return found_or_made("sft")


def letters_run() -> RunFolder:
    """The model of `python train.py sft --task letters`: the assistant of `sft_run` has learned to write letters, good
    and bad, and to answer questions about them.
    """
    return found_or_made("letters")


def reward_run() -> RunFolder:
    """The reward model of `python train.py reward`."""
    return found_or_made("reward")


def ready_models() -> Path:
    """The folder of the models that come with the repository."""
    return CHECKOUT / "data" / "models"


def found_or_made(name: str) -> RunFolder:
    """The model of this name: the one that comes with the repository, else that of `trained`."""
    ready = RunFolder(ready_models() / name)
    return ready if ready.finished and not os.environ.get("MINILLM_OWN_MODELS") else trained(name)


def trained(name: str) -> RunFolder:
    """The finished run in runs/NAME, which its command makes when nobody has yet, after the runs that it begins with.

    How many are missing and how long they take is said before the first begins, and each step of theirs is counted.
    Raises: RuntimeError when one could not be trained.
    """
    chain = [name]
    while start := MAKERS[chain[0]][1]:
        chain.insert(0, start)
    runs = {one: RunFolder(ROOT / "runs" / one) for one in chain}
    missing = [one for one in chain if not runs[one].finished]
    if missing:
        minutes = sum(MINUTES[one] for one in missing)
        print(
            f"Not there yet: {', '.join(missing)}. Training now, once: {minutes} minutes on two idle cores.", flush=True
        )
    for number, one in enumerate(missing, 1):
        start = MAKERS[one][1]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            process = subprocess.Popen(
                _command(runs[one], one, start and runs[start]), cwd=ROOT, stdout=said, stderr=said
            )
            _watch(process, runs[one], f"{number} of {len(missing)}: {one}")
            said.seek(0)
            _check(process.returncode, one, said.read())
    return runs[name]


def _watch(process: subprocess.Popen, run: RunFolder, title: str) -> None:
    """Says on one line how far a run is, until it has ended."""
    begun = time.monotonic()
    while process.poll() is None:
        records = run.records() if run.started else []
        step = records[-1]["step"] if records else 0
        print(f"\r{title}, step {step}, {time.monotonic() - begun:.0f} s", end="", flush=True)
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            continue
        except KeyboardInterrupt:
            process.terminate()  # it ends its step, and goes on from there another time
            raise
    print(f"\r{title}, {time.monotonic() - begun:.0f} s" + " " * 12, flush=True)


def _command(run: RunFolder, name: str, start: RunFolder | str) -> list[str]:
    """What finishes a run, in fp32."""
    earlier = ["--from", str(start.path)] if start else []
    command = MAKERS[name][0]
    flags = [command[0], "--resume"] if run.started else [*command, *earlier, "--dtype", "fp32"]  # a run has its flags
    return [sys.executable, "-m", "minillm", *flags, "--out", str(run.path)]


def _check(status: int, name: str, said: str = "") -> None:
    if status:
        last = f": {said.strip().splitlines()[-1]}" if said.strip() else ""
        raise RuntimeError(f"training the model {name} for the lessons failed{last}")


def make_models(runs: Path, out: Path) -> None:
    """Train every model that lessons stand on into `runs`, those that are there already left alone; `keep` it in `out`.

    Raises: RuntimeError when one could not be trained.
    """
    for number, (name, (_, start)) in enumerate(MAKERS.items(), 1):
        run = RunFolder(runs / name)
        print(f"{number} of {len(MAKERS)}: {name}", flush=True)
        if not run.finished:
            _check(subprocess.run(_command(run, name, start and RunFolder(runs / start)), cwd=ROOT).returncode, name)
        keep(name, run, RunFolder(out / name))


def keep(name: str, run: RunFolder, ready: RunFolder) -> None:
    """Write what lessons read of a run: its weights in half precision, and some of its files."""
    tensors, _ = load_file(run.model_file)
    save_file({key: t.half() if t.dtype == torch.float32 else t for key, t in tensors.items()}, ready.model_file)
    for file in KEPT[name]:
        shutil.copyfile(run.path / file, ready.path / file)
    config, start = run.config(), MAKERS[name][1]
    places = {"out": f"runs/{name}", "from_": start and f"runs/{start}"}  # none of this machine
    write_json(ready.path / "config.json", {**config, "settings": {**config["settings"], **places}})
    print(f"{ready.path}: {sum(file.stat().st_size for file in ready.path.iterdir()):,} bytes")
