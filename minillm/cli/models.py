"""`train.py models`: the models that the lessons stand on, trained anew."""

from dataclasses import dataclass
from pathlib import Path

from minillm.cli.flags import flag
from minillm.course import ROOT, make_models, ready_models
from minillm.system import check_file


@dataclass(frozen=True, kw_only=True)
class ModelsSettings:
    """Folders."""

    runs: Path | None = flag(None, "where the runs are trained, or found if they are finished (default: runs/models)")
    out: Path | None = flag(None, "where the models go that lessons read (default: data/models, of the repository)")


def run_models(settings: ModelsSettings, given: dict) -> int:
    """Train the models that the lessons stand on, in fp32, and keep them in half precision.

    python train.py models                     after a change of a recipe: all of them, about 15 minutes on two cores
    python train.py models --out elsewhere     to look at, without touching those of the repository

    They come with the repository: nobody needs this to follow the lessons. What was interrupted goes on when the same
    line is given again. A lesson takes your own runs in runs/ instead, with MINILLM_OWN_MODELS=1.
    """
    runs, out = settings.runs or ROOT / "runs" / "models", settings.out or ready_models()
    for folder in (runs, out):
        check_file(folder / "pretrain" / "config.json")  # before anything is trained
    try:
        make_models(runs, out)
    except RuntimeError as error:
        raise ValueError(str(error)) from None
    return 0
