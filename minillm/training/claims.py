"""Who writes into a run folder: one process, which made it or found it unused, and which holds its lock.

A run that is killed before config.json is written has not begun: whoever takes its folder next starts over in it.
Afterwards it is continued (`continued`). Either way the folder is first swept of what the killed process had half
written. An error before the run begins leaves nothing: not the files, and not the folders that were made.
"""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

from minillm.system import FolderLock, InUse, sweep
from minillm.training.runs import RUNS, RunFolder

# What may be there before config.json is: of a run that trains, and of one that another run is copied into.
BEFORE_IT_BEGINS = ("tokens_*.safetensors", "tokenizer.json", "model.safetensors", "metrics.json")
BEFORE_IT_BEGINS += ("predictions.jsonl", "samples.txt", "*.png")


class Taken(ValueError):
    """A folder that no new run can have."""


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[RunFolder]:
    """The folder of a new run, made where it is missing, and locked during the block.

    Raises: Taken when it holds a run or anything else, and when another process is using it.
    """
    run, made = RunFolder(path), []
    with contextlib.ExitStack() as stack:
        stack.callback(_clear, run, made)
        _make(path, made)
        try:
            left = stack.enter_context(_locked(FolderLock(path)))
        except (InUse, FileNotFoundError, NotADirectoryError) as error:  # or another has just deleted what it made
            raise Taken(f"{path} cannot be used: {error}") from None
        if run.started:
            raise Taken(f"{path} already holds a run; continue it with --resume, or choose another folder")
        files, strange = _contents(path)
        if strange or (files and not left):
            raise Taken(f"{path} is not empty: choose another folder")
        stack.callback(_empty, run)
        _empty(run)
        yield run


@contextlib.contextmanager
def claimed_by_name(name: str) -> Iterator[RunFolder]:
    """The first of runs/NAME, runs/NAME-2, ... that a new run can have, as `claimed`."""
    with contextlib.ExitStack() as stack:
        for number in itertools.count(1):
            try:
                run = stack.enter_context(claimed(RUNS / (name if number == 1 else f"{name}-{number}")))
            except Taken:
                continue
            break
        yield run


@contextlib.contextmanager
def continued(run: RunFolder) -> Iterator[RunFolder]:
    """The folder of a run that has begun, locked during the block.

    Raises: ValueError when there is none, and when another process is using it.
    """
    lock = FolderLock(run.path)
    if lock.file.exists() and not run.started:
        raise ValueError(f"{run.path} holds no run yet: none has begun, or it was stopped before; leave --resume out")
    run.config()
    with _locked(lock):
        yield run


@contextlib.contextmanager
def _locked(lock: FolderLock) -> Iterator[bool]:
    """Hold a lock, of a folder without half-written files. Yields: whether a process that died held it before."""
    left = lock.acquire()
    try:
        sweep(lock.folder)
        yield left
    finally:
        lock.release()


def _make(path: Path, made: list[Path]) -> None:
    """Make a folder and those above it, and add those that were missing to `made`, from the outside in."""
    for folder in reversed((path, *path.parents)):
        if not folder.exists():
            with contextlib.suppress(FileExistsError):  # another process was faster
                folder.mkdir()
                made.append(folder)


def _contents(path: Path) -> tuple[list[Path], list[Path]]:
    """The files that a run writes before it begins, and whatever else there is, but for the lock."""
    known, strange = [], []
    for file in path.rglob("*"):
        if (file.is_dir() and file.name == "last") or file == FolderLock(path).file:
            continue
        own = file.is_file() and any(file.match(pattern) for pattern in BEFORE_IT_BEGINS)
        (known if own else strange).append(file)
    return known, strange


def _empty(run: RunFolder) -> None:
    """Delete what a run that has not begun has written."""
    if not run.started:
        sweep(run.path)
        for file in _contents(run.path)[0]:
            file.unlink()
        with contextlib.suppress(OSError):  # it is not there
            run.last_file.parent.rmdir()


def _clear(run: RunFolder, made: list[Path]) -> None:
    """Delete the folders that were made for a run that has not begun."""
    for folder in [] if run.started else reversed(made):
        with contextlib.suppress(OSError):  # somebody else has put something into it
            folder.rmdir()
