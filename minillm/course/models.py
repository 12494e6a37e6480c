"""The trained models that lessons stand on: the same weights on every machine.

They come with the repository, in data/models/, trained in fp32 and kept in half precision; `python train.py models`
trains and writes them anew. Where they are absent, or with MINILLM_OWN_MODELS=1, a lesson takes the runs of the same
names in runs/, and trains them first.
"""

import os
import shutil
import subprocess
import sys
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
    """The finished run in runs/NAME, which its command makes when nobody has yet, after the run that it begins with.

    Raises: RuntimeError when it could not be trained.
    """
    run = RunFolder(ROOT / "runs" / name)
    if not run.finished:
        start = MAKERS[name][1] and trained(MAKERS[name][1])
        print(f"There is no trained model in {run.path} yet. Training it now, once: minutes.", flush=True)
        _train(run, name, start, capture_output=True, text=True)
    return run


def _train(run: RunFolder, name: str, start: RunFolder | str, **output) -> None:
    """Finish a run by its command, in fp32; `output` says what becomes of all that it prints."""
    earlier = ["--from", str(start.path)] if start else []
    command = MAKERS[name][0]
    flags = [command[0], "--resume"] if run.started else [*command, *earlier, "--dtype", "fp32"]  # a run has its flags
    result = subprocess.run([sys.executable, "-m", "minillm", *flags, "--out", str(run.path)], cwd=ROOT, **output)
    if result.returncode:
        said = f": {result.stderr.strip().splitlines()[-1]}" if result.stderr else ""
        raise RuntimeError(f"training the model {name} for the lessons failed{said}")


def make_models(runs: Path, out: Path) -> None:
    """Train every model that lessons stand on into `runs`, those that are there already left alone; `keep` it in `out`.

    Raises: RuntimeError when one could not be trained.
    """
    for number, (name, (_, start)) in enumerate(MAKERS.items(), 1):
        run = RunFolder(runs / name)
        print(f"{number} of {len(MAKERS)}: {name}", flush=True)
        if not run.finished:
            _train(run, name, start and RunFolder(runs / start))
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
