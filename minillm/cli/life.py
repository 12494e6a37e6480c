"""The life of a run, once: open a folder, read data, build a model, write down how it begins, train, report.

A command that trains is a `TrainingCommand` and fills in the steps. Where runs live, and which of them goes on, stands
here too.
"""

import os
from dataclasses import fields, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from minillm.cli.flags import build, change, fields_of, flag_name, flat_values, program
from minillm.cli.memory import check_batches
from minillm.cli.methods import Prepared
from minillm.data import show_example
from minillm.system import Compute, pick_device, seed_everything, write_json
from minillm.training import RUNS, History, RunFolder, TrainConfig, describe, fit, latest_run, mean_loss


class TrainingCommand:
    """One run of one command. The steps of `live`, in order, are what a command says of itself."""

    name: ClassVar[str]  # on the command line and in config.json
    unit: str = "tokens"  # what the loss counts
    other_data: ClassVar[str]  # what is said when a resumed run finds another text than it began with
    label_names: list[str] = []  # noqa: RUF012 - what --show calls labels
    watched: int | None = None  # batches of validation data behind each point of the curve; None: all
    prepared: Prepared | None = None  # how a trained model is tuned
    batches: Any = None  # what `fit` trains on

    def __init__(self, settings: Any, run: RunFolder, compute: Compute, given: dict, resuming: bool = False):
        self.settings, self.run, self.compute = settings, run, compute
        self.given, self.resuming = given, resuming

    @classmethod
    def start(cls, settings: Any, given: dict) -> int:
        """Open the folder of a run and live its life. given: the flags that were typed. Returns: the exit status."""
        if not settings.run.resume:
            settings = cls.complete(settings, given)
        run, settings, resuming = open_run(settings, given, cls.name)
        command = cls(settings, run, pick_device(settings.machine.device, settings.machine.dtype), given, resuming)
        seed_everything(settings.machine.seed)
        return command.live()

    def live(self) -> int:
        """The whole life. Returns: the exit status."""
        if self.resuming and self.run.finished and not self.settings.run.show:
            print(self.ending())
            return 0
        self.read()
        self.build()
        if self.settings.run.show:
            show_example(self.tokenizer, self.example_batch(), names=self.label_names)
            return 0
        self.prepare()
        if self.batches is not None and len(self.batches):
            check_batches(self.compute, self.model, self.batches)
        self.announce()
        self.begin()
        history = self.learn(self.resuming and self.run.last_file.exists())
        if history.stopped == "interrupted":
            resume = f"{program()} {self.name} --resume --out {self.run.path}"
            print(f"stopped at step {history.step}; go on with: {resume}")
            return 130
        self.report(history)
        return 0

    # What a command says

    @classmethod
    def complete(cls, settings: Any, given: dict) -> Any:
        """Of a new run: the settings, with what they leave open (such as the run to begin with) filled in."""
        return settings

    def read(self) -> None:
        """The data, from files. Raises: ValueError with file and line for what is none."""
        raise NotImplementedError

    def build(self) -> None:
        """`self.tokenizer` and `self.model`, and what --show needs."""
        raise NotImplementedError

    def example_batch(self) -> dict:
        """What --show shows."""
        raise NotImplementedError

    def prepare(self) -> None:
        """What training needs besides, and --show does not."""

    def announce(self) -> None:
        """Say what is going to happen."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """A checksum of the training data, by which a resumed run knows it again."""
        raise NotImplementedError

    def more_config(self) -> dict:
        """What config.json says besides."""
        return {}

    def watch(self, model: nn.Module) -> dict:
        """A point of the curve: the loss on some of the validation data."""
        return {"val_loss": mean_loss(model, self.objective, islice(self.valid, self.watched), self.compute)}

    def learn(self, resume: bool) -> History:
        """Train `self.model` on `self.batches`, by `self.objective` and as `self.config` says."""
        loss = self.prepared.objective(self.objective) if self.prepared else self.objective
        after_step = self.prepared.after_step(self.config.steps) if self.prepared else None
        more = {"run": self.run, "resume": resume, "after_step": after_step}
        return fit(self.model, loss, self.batches, replace(self.config, unit=self.unit), self.watch, **more)

    def report(self, history: History) -> None:
        """Measure, draw, write the scores, and say how it went."""
        raise NotImplementedError

    # What all have in common

    def ending(self) -> str:
        """What is to be said of a finished run that is to go on."""
        metrics = self.run.metrics()
        why = f" ({metrics['stopped']})" if metrics.get("stopped") else ""
        return f"{self.run.path} is finished, after {metrics.get('steps')} steps{why}: there is nothing to go on with"

    def begin(self) -> None:
        """Write what the folder says from the beginning; of a run that goes on, see that its data is the same."""
        data = self.fingerprint()
        if self.resuming:
            if self.run.config().get("data") != data:
                raise ValueError(f"{self.run.path}: {self.other_data}")
            return
        self.tokenizer.save(self.run.path / "tokenizer.json")
        self.run.save_config(
            stage=self.name,
            model=describe(self.model),
            tokenizer=self.tokenizer.fingerprint,
            data=data,
            settings=saved_settings(self.settings),
            **self.more_config(),
        )

    def write_metrics(self, history: History, **scores) -> dict:
        """Write metrics.json, which says that the run has ended, and return it."""
        parameters, unit = list(self.model.parameters()), self.unit.replace(" ", "_")
        speed = round(history.tokens / history.seconds) if history.seconds else None
        of_tokens = unit.endswith("tokens")  # of texts, pairs and words nobody counts the tokens
        metrics = {
            "stage": self.name,
            **scores,
            "steps": history.step,
            "tokens": history.tokens if of_tokens else None,
            "seconds": round(history.seconds, 2),
            "tokens_per_second": speed if of_tokens else None,
            **({} if unit == "tokens" else {unit: history.tokens, f"{unit}_per_second": speed}),
            "peak_memory_bytes": self.compute.peak_memory(),
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
            "best_step": history.best_step,
            "stopped": history.stopped,
        }
        write_json(self.run.path / "metrics.json", metrics)
        return metrics


def numbers_in(scores: dict) -> str:
    """The numbers among scores, for people."""
    return ", ".join(f"{name} {value:.3f}" for name, value in scores.items() if isinstance(value, float))


def train_config(*groups: Any, steps: int, **more) -> TrainConfig:
    """The settings of `fit`: those that stand in the groups, and what a command has worked out (`more`)."""
    known = {field.name for field in fields(TrainConfig)}
    given = {name: value for group in groups for name, value in vars(group).items() if name in known}
    every = given.get("eval_every") or max(steps // 10, 1)
    return TrainConfig(**given | {"steps": steps, "eval_every": every} | more)


# Where runs live


def check_folder(out: Path) -> None:
    """Raises: ValueError for a path that is a file, or within one: it cannot become a folder."""
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise ValueError(f"--out {out}: {'this' if path == out else path} is a file; name a folder")


def new_run(out: Path | None, name: str) -> RunFolder:
    """An empty run folder: the one given, or the first of runs/NAME, runs/NAME-2, ... that is free."""
    if out is None:
        names = (RUNS / (name if n == 1 else f"{name}-{n}") for n in range(1, 10_000))
        return RunFolder(next(path for path in names if not path.exists()))
    check_folder(out)
    if RunFolder(out).started:
        raise ValueError(f"--out {out} already holds a run; continue it with --resume, or choose another folder")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"--out {out} is not empty: choose another folder")
    return RunFolder(out)


def check_context(context: int | None, model: nn.Module, run: RunFolder) -> None:
    """Raises: ValueError for a --context that is longer than what the model of a run reads."""
    longest = getattr(model.config, "context", context)
    if context and context > longest:
        raise ValueError(f"--context {context} is longer than the {longest} of the model in {run.path}")


# A run that goes on


def open_run(settings: Any, given: dict, name: str) -> tuple[RunFolder, Any, bool]:
    """The run folder, the settings that hold in it, and whether it is an old one that goes on."""
    if not settings.run.resume:
        return new_run(settings.run.out, name), settings, False
    run = RunFolder(settings.run.out) if settings.run.out else latest_run(name, whole=False, flag="--out")
    own = run.config().get("stage")
    if own != name:
        raise ValueError(f"{run.path} is a run of {own}, not of {name}: resume it by `{program()} {own}`")
    saved = run.config()["settings"]
    for flag, value in given.items():
        value, own = as_saved(value), saved.get(flag)
        if isinstance(given[flag], Path) and own:
            own = as_saved(Path(own))  # of an older run, as seen from here
        if flag not in ("resume", "out", "device") and value != own:
            raise ValueError(
                f"--resume goes on with the settings of {run.path}, where {flag_name(flag)} is {saved.get(flag)}, "
                f"not {value}: leave the flag out"
            )
    settings = restore_settings(type(settings), saved)
    return run, change(settings, resume=True, **{key: given[key] for key in ("device",) if key in given}), True


def saved_settings(settings: Any) -> dict:
    """The settings as JSON can hold them, without groups."""
    return {name: as_saved(value) for name, value in flat_values(settings).items()}


def as_saved(value: Any) -> Any:
    """A setting as config.json has it: a path is whole, so that it leads to the same file from any folder."""
    return os.path.abspath(value) if isinstance(value, Path) else value


def restore_settings(kind: type, saved: dict) -> Any:
    """Settings from what `saved_settings` made of them. Raises: ValueError for those of another version of minillm."""
    types = {field.name: hint for _, field, hint in fields_of(kind)}
    follows = {field.name for _, field, _ in fields_of(kind) if "auto" in field.metadata}
    saved = {name: None if name in follows and not value else value for name, value in saved.items()}  # was once 0
    unknown = sorted(saved.keys() - types.keys())
    if unknown:
        raise ValueError(f"this run has settings of another version of minillm ({', '.join(unknown)}): begin it anew")
    return build(kind, {name: Path(v) if types[name] is Path and v else v for name, v in saved.items()})
