"""The trained models that lessons stand on, each found or made first, in fp32: the same on every machine."""

import os
import subprocess
import sys
from pathlib import Path

from minillm.report import use_style
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


def begin() -> None:
    """What a lesson begins with: the house style of pictures, and fp32 where "auto" would choose a precision.

    So the numbers are nearly the same on every machine; the variable MINILLM_DTYPE takes another precision.
    """
    use_style()
    os.environ.setdefault("MINILLM_DTYPE", "fp32")


def default_run() -> RunFolder:
    """The run of `python train.py`, in runs/pretrain beside the notebooks. When it is missing it is trained first."""
    return found_or_made("pretrain")


def mlm_run() -> RunFolder:
    """The run of `python train.py mlm`, in runs/mlm: an encoder. When it is missing it is trained first."""
    return found_or_made("mlm")


def lstm_run() -> RunFolder:
    """The run of `python train.py pretrain --model lstm`, in runs/lstm. When it is missing it is trained first."""
    return found_or_made("lstm")


def sft_run() -> RunFolder:
    """The run of `python train.py sft`, in runs/sft: a model that answers. When it is missing it is trained first."""
    return found_or_made("sft")


def letters_run() -> RunFolder:
    """The run of `python train.py sft --task letters`, in runs/letters: the assistant of `sft_run` has learned to
    write letters, good and bad, and to answer questions about them. When it is missing it is trained first.
    """
    return found_or_made("letters")


def reward_run() -> RunFolder:
    """The run of `python train.py reward`, in runs/reward: a reward model. When it is missing it is trained first."""
    return found_or_made("reward")


def found_or_made(name: str) -> RunFolder:
    """The finished run in runs/NAME, which its command makes when nobody has yet, after the run that it begins with.

    Raises: RuntimeError when it could not be trained.
    """
    run = RunFolder(ROOT / "runs" / name)
    if run.finished:
        return run
    command, start = MAKERS[name]
    earlier = ["--from", str(found_or_made(start).path)] if start else []
    print(
        f"There is no trained model in {run.path} yet. Training it now, once; this takes about three minutes.",
        flush=True,
    )
    flags = [command[0], "--resume"] if run.started else [*command, *earlier, "--dtype", "fp32"]  # a run has its flags
    arguments = [sys.executable, "-m", "minillm", *flags, "--out", str(run.path)]
    result = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        raise RuntimeError(f"training the model for the lessons failed: {result.stderr.strip().splitlines()[-1]}")
    return run
