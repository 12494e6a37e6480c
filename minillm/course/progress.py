"""Which exercises are right so far: `python -m minillm.course progress`.

`check` notes each answer in a file of the learner's own: runs/progress.json beside the notebooks, or the file that the
variable MINILLM_PROGRESS names. An exercise that was right once stays right. Nothing here ever stops a notebook.
"""

import contextlib
import os
from pathlib import Path

from minillm.course.models import ROOT
from minillm.system import read_json, write_json


def progress_file() -> Path:
    """Where the learner's progress is kept."""
    return Path(os.environ.get("MINILLM_PROGRESS") or ROOT / "runs" / "progress.json")


def read_progress() -> dict[str, dict]:
    """{exercise: {"right": whether it ever was, "tries": how often it was checked}}; empty where none can be read."""
    with contextlib.suppress(OSError, ValueError):
        found = read_json(progress_file())
        if isinstance(found, dict):
            return {name: row for name, row in found.items() if isinstance(row, dict)}
    return {}


def note(name: str, status: str) -> None:
    """Keep the verdict on an answer; one not answered yet, and a file that cannot be written, change nothing."""
    if status not in ("right", "wrong"):
        return
    with contextlib.suppress(Exception):
        kept = read_progress()
        row = kept.get(name, {})
        tries = row.get("tries", 0)
        tries = tries + 1 if isinstance(tries, int) else 1
        kept[name] = {"right": status == "right" or row.get("right") is True, "tries": tries}
        progress_file().parent.mkdir(parents=True, exist_ok=True)
        write_json(progress_file(), kept)
