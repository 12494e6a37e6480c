"""The life of a run, once: claim a folder, read data, build a model, write down how it begins, train, report.

A command that trains is a `TrainingCommand` and fills in the steps. Where runs live, and which of them goes on, stands
here too.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from minillm.cli.flags import build, change, fields_of, flag_name, flat_values, program
from minillm.cli.memory import check_batches
from minillm.cli.methods import Prepared
from minillm.data import show_example
from minillm.hub import load_tokenizer
from minillm.system import Compute, is_kind, pick_device, reading, seed_everything, shown, write_json
from minillm.text import Tokenizer
from minillm.training import (
    RUNS,
    History,
    RunFolder,
    TrainConfig,
    claimed,
    claimed_by_name,
    continued,
    describe,
    fit,
    latest_run,
    mean_loss,
    recompute,
)


class TrainingCommand:
    """One run of one command. The steps of `live`, in order, are what a command says of itself."""

    name: ClassVar[str]  # on the command line and in config.json
    unit: str = "tokens"  # what the loss counts
    other_data: ClassVar[str]  # what is said when a resumed run finds another text than it began with
    label_names: list[str] = []  # noqa: RUF012 - what --show calls labels
    watched: int | None = None  # batches behind each point of the curve, spread over all validation data; None: all
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
        with open_run(settings, given, cls.name, cls.folder_name(settings)) as (run, settings):
            compute = pick_device(settings.machine.device, settings.machine.dtype)
            command = cls(settings, run, compute, given, settings.run.resume)
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
        if self.settings.training.recompute:
            recompute(self.model)
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
        print(f"see it from inside, in a browser: {program()} page --from {self.run.path}")
        self.report(history)
        return 0

    # What a command says

    @classmethod
    def complete(cls, settings: Any, given: dict) -> Any:
        """Of a new run: the settings, with what they leave open (such as the run to begin with) filled in."""
        return settings

    @classmethod
    def folder_name(cls, settings: Any) -> str:
        """What a folder in runs/ is called when nobody says."""
        return cls.name

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
        return {"val_loss": mean_loss(model, self.objective, self.valid.spread(self.watched), self.compute)}

    @property
    def samples_validation(self) -> bool:
        """Whether a point of the curve is measured on less than all validation data."""
        return self.watched is not None and len(self.valid) > self.watched

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
        self.size = {"parameters": count_parameters(self.model), "trainable": count_parameters(self.model, True)}
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

    def tokenizer_of(self, make: Callable[[], Tokenizer]) -> Tokenizer:
        """The tokenizer that `make` makes; of a run that goes on its own, which it wrote when it began."""
        return load_tokenizer(self.run) if self.resuming else make()

    def tokens_file(self, part: str) -> Path | None:
        """Where the token ids of a part of the text are kept, to go on with; --show keeps none."""
        return None if self.settings.run.show else self.run.last_file.with_name(f"tokens_{part}.safetensors")

    def write_metrics(self, history: History, **scores) -> dict:
        """Write metrics.json, which says that the run has ended, and return it."""
        unit = self.unit.replace(" ", "_")
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
            "parameters": self.size["parameters"],
            "trainable_parameters": self.size["trainable"],
            "best_step": history.best_step,
            "stopped": history.stopped,
        }
        write_json(self.run.path / "metrics.json", metrics)
        return metrics


def count_parameters(model: nn.Module, learning: bool = False) -> int:
    """How many numbers a model has; of those that learn, if only they are asked for."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not learning)


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


@contextlib.contextmanager
def new_run(out: Path | None, name: str) -> Iterator[RunFolder]:
    """The folder of a new run, locked during the block: the one given, or the first of runs/NAME, ... that is free."""
    check_folder(out or RUNS)
    with claimed_by_name(name) if out is None else claimed(out) as run:
        yield run


def check_context(context: int | None, model: nn.Module, run: RunFolder) -> None:
    """Raises: ValueError for a --context that is longer than what the model of a run reads."""
    longest = getattr(model.config, "context", context)
    if context and context > longest:
        raise ValueError(f"--context {context} is longer than the {longest} of the model in {run.path}")


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
        if flag not in ("resume", "out", "device") and value != own:
            raise ValueError(
                f"--resume goes on with the settings of {run.path}, where {flag_name(flag)} is {saved.get(flag)}, "
                f"not {value}: leave the flag out"
            )
    with reading(run.path / "config.json"):
        settings = restore_settings(type(settings), saved)
    return change(settings, resume=True, **{key: given[key] for key in ("device",) if key in given})


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
