"""Where a run lives: a folder that is claimed, or that goes on with the settings that it has.

Of several processes rank 0 alone opens the folder; it tells the others where it is, and which settings hold.
"""

import contextlib
import os
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from minillm.cli.flags import build, change, fields_of, flag_name, flat_values, program
from minillm.system import Alone, is_kind, reading, restarted, shown, started
from minillm.training import RUNS, RunFolder, claimed, claimed_by_name, continued, latest_run


def check_folder(out: Path) -> None:
    """Raises: ValueError for a path that is a file, or within one: it cannot become a folder."""
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise ValueError(f"--out {out}: {'this' if path == out else path} is a file; name a folder")


@contextlib.contextmanager
def new_run(out: Path | None, name: str) -> Iterator[RunFolder]:
    """The folder of a new run, locked during the block: the one given, or the first of runs/NAME, ... that is free."""
    check_folder(out or RUNS)
    with claimed_by_name(name) if out is None else claimed(out) as run:
        yield run


# A run that goes on

NOT_SAID = ("rehearse", "rehearse_answers", "ptx_coef")  # in config.json of older versions, which had none of it


@contextlib.contextmanager
def open_run(settings: Any, given: dict, name: str, folder: str) -> Iterator[tuple[RunFolder, Any]]:
    """The run folder, locked during the block, and the settings that hold in it. folder: its name in runs/."""
    if not settings.run.resume:
        shown_only = contextlib.nullcontext(RunFolder(settings.run.out or RUNS / folder))  # --show writes nothing
        with shown_only if settings.run.show else new_run(settings.run.out, folder) as run:
            yield run, settings
        return
    run = RunFolder(settings.run.out) if settings.run.out else latest_run(name, whole=False, flag="--out")
    with continued(run):
        yield run, resumed_settings(settings, given, run, name)


@contextlib.contextmanager
def open_together(
    settings: Any, given: dict, name: str, folder: Callable[[Any], str], complete: Callable[[Any, dict], Any]
) -> Iterator[tuple[RunFolder, Any, Alone]]:
    """`open_run` for each of the processes that torchrun started; yields them, too.

    Args: folder, complete: what the command calls the folder, and fills in where a new run leaves something open.
    """
    together = started(settings.machine.device)
    if not together.leads:
        said = together.share(dict)
        if not Path(said["run"]).is_dir():
            raise ValueError(f"{platform.node()} does not see {said['run']}: --out a folder that all machines share")
        settings = restore_settings(type(settings), said["settings"])
        yield RunFolder(said["run"]), settings, together
        return
    if restarted() and not settings.run.resume:  # torchrun --max-restarts: go on, if there is something to go on with
        settings = change(settings, resume=has_begun(settings.run.out, name))
    if not settings.run.resume:
        settings = complete(settings, given)
    with open_run(settings, given, name, folder(settings)) as (run, settings):
        check_share(settings, given, together)
        together.share(lambda: {"run": os.path.abspath(run.path), "settings": saved_settings(settings)})
        yield run, settings, together


def has_begun(out: Path | None, name: str) -> bool:
    """Whether there is a run to go on with, where --resume would look for it."""
    try:
        run = RunFolder(out) if out else latest_run(name, whole=False)
    except ValueError:
        return False
    return run.started and not run.finished


def check_share(settings: Any, given: dict, together: Alone) -> None:
    """Raises: ValueError for work that these processes cannot share evenly, or not in this way."""
    world, training = together.world, settings.training
    if world == 1:
        if given.get("shard"):
            raise ValueError("--shard has no use here: there is one process; torchrun --nproc-per-node N starts more")
        return
    for name in ("accumulate",) if hasattr(training, "accumulate") else ("batch_size", "minibatch_size"):
        number = getattr(training, name) or 1  # auto: nobody has said how many
        if number % world:
            flag, more = flag_name(name), -(-number // world) * world
            how = f"{flag} {more}" + (" with a smaller --batch-size" if name == "accumulate" else "")
            how = "a number of processes that divides it" if settings.run.resume else f"a multiple, such as {how}"
            raise ValueError(f"{flag} is {number}, which {world} processes cannot share evenly: take {how}")
    if getattr(training, "shard", False):
        method = getattr(getattr(settings, "method", None), "method", "full")
        useless = {
            "--compile": training.compile,
            "--unfreeze": getattr(getattr(settings, "method", None), "unfreeze", False),
            "--dtype fp16": settings.machine.dtype == "fp16",
            f"--method {method}": method not in ("full", "lora"),
        }
        for flag in (flag for flag, wrong in useless.items() if wrong):
            raise ValueError(f"--shard does not go with {flag}: leave one of them out")


def resumed_settings(settings: Any, given: dict, run: RunFolder, name: str) -> Any:
    """The settings of a run that goes on. Raises: ValueError for flags that differ, and another command's run."""
    own = run.config()["stage"]
    if own != name:
        raise ValueError(f"{run.path} is a run of {own}, not of {name}: resume it by `{program()} {own}`")
    saved = run.config()["settings"]
    for flag, value in given.items():
        value, own = as_saved(value), saved.get(flag)
        if isinstance(given[flag], Path) and isinstance(own, str):
            own = as_saved(Path(own))  # of an older run, as seen from here
        if flag not in ("resume", "out", "device", "shard") and value != own:
            raise ValueError(
                f"--resume goes on with the settings of {run.path}, where {flag_name(flag)} is {saved.get(flag)}, "
                f"not {value}: leave the flag out"
            )
    with reading(run.path / "config.json"):
        settings = restore_settings(type(settings), saved)
    return change(settings, resume=True, **{key: given[key] for key in ("device", "shard") if key in given})


def saved_settings(settings: Any) -> dict:
    """The settings as JSON can hold them, without groups."""
    return {name: as_saved(value) for name, value in flat_values(settings).items()}


def as_saved(value: Any) -> Any:
    """A setting as config.json has it: a path is whole, so that it leads to the same file from any folder."""
    return os.path.abspath(value) if isinstance(value, Path) else value


def restore_settings(kind: type, saved: dict) -> Any:
    """Settings from what `saved_settings` made of them. Raises: ValueError for those of another version of minillm."""
    known = {field.name: (field, hint) for _, field, hint in fields_of(kind)}
    saved = {name: 0.0 for name in NOT_SAID if name in known} | saved
    unknown = sorted(saved.keys() - known.keys())
    if unknown:
        raise ValueError(f"this run has settings of another version of minillm ({', '.join(unknown)}): begin it anew")
    values = {}
    for name, value in saved.items():
        field, hint = known[name]
        value = None if "auto" in field.metadata and value in (0, "") else value  # as older versions wrote it
        absent, choices = value is None and field.default is None, field.metadata["choices"]
        if not absent and (not is_kind(value, str if hint is Path else hint) or (choices and value not in choices)):
            raise ValueError(f'"{name}" among the settings is {shown(value)}, which {flag_name(name)} cannot be')
        values[name] = Path(value) if hint is Path and value else value
    return build(kind, values)
