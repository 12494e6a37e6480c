"""What the lessons share: the pre-trained models that `train.py` makes, each found or made first."""

import subprocess
import sys
from pathlib import Path

from minillm.training import RunFolder

ROOT = Path(__file__).resolve().parents[1]


def default_run() -> RunFolder:
    """The run of `python train.py`, in runs/pretrain beside the notebooks. When it is missing it is trained first."""
    return found_or_made("pretrain", "pretrain")


def mlm_run() -> RunFolder:
    """The run of `python train.py mlm`, in runs/mlm: an encoder. When it is missing it is trained first."""
    return found_or_made("mlm", "mlm")


def lstm_run() -> RunFolder:
    """The run of `python train.py pretrain --model lstm`, in runs/lstm. When it is missing it is trained first."""
    return found_or_made("lstm", "pretrain", "--model", "lstm")


def sft_run() -> RunFolder:
    """The run of `python train.py sft`, in runs/sft: a model that answers. When it is missing it is trained first."""
    return found_or_made("sft", "sft", "--from", str(default_run().path))


def letters_run() -> RunFolder:
    """The run of `python train.py sft --task letters`, in runs/letters: the assistant of `sft_run` has learned to write
    letters, good and bad, and to answer questions about them. When it is missing it is trained first.
    """
    return found_or_made("letters", "sft", "--task", "letters", "--from", str(sft_run().path))


def reward_run() -> RunFolder:
    """The run of `python train.py reward`, in runs/reward: a reward model. When it is missing it is trained first."""
    return found_or_made("reward", "reward", "--from", str(letters_run().path))


def found_or_made(name: str, *arguments: str) -> RunFolder:
    """The finished run in runs/NAME, which `train.py` makes with these arguments when nobody has yet.

    Raises:
        RuntimeError: it could not be trained.
    """
    run = RunFolder(ROOT / "runs" / name)
    if run.finished:
        return run
    print(
        f"There is no trained model in {run.path} yet. Training it now, once; this takes about three minutes.",
        flush=True,
    )
    flags = [arguments[0], "--resume"] if run.started else arguments  # a run that goes on has its settings
    command = [sys.executable, str(ROOT / "train.py"), *flags, "--out", str(run.path)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        raise RuntimeError(f"training the model for the lessons failed: {result.stderr.strip().splitlines()[-1]}")
    return run
