"""What the lessons share: the model that `python train.py` makes, found or made first."""

import subprocess
import sys
from pathlib import Path

from minillm.checkpoint import RunFolder

ROOT = Path(__file__).resolve().parents[1]


def default_run() -> RunFolder:
    """The run of `python train.py`, in runs/pretrain beside the notebooks. When it is missing it is trained first."""
    run = RunFolder(ROOT / "runs" / "pretrain")
    if run.finished:
        return run
    print(
        f"There is no trained model in {run.path} yet. Training it now, once; this takes about two minutes.",
        flush=True,
    )
    flags = ["--resume"] if run.started else []
    command = [sys.executable, str(ROOT / "train.py"), "pretrain", "--out", str(run.path), *flags]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if result.returncode:
        raise RuntimeError(f"training the model for the lessons failed: {result.stderr.strip().splitlines()[-1]}")
    return run
