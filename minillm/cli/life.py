"""The life of a run, once: claim a folder, read data, build a model, write down how it begins, train, report.

A command that trains is a `TrainingCommand` and fills in the steps. Where runs live, and which of them goes on:
`opening`.
"""

from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from minillm.cli.flags import program
from minillm.cli.memory import check_batches
from minillm.cli.methods import Prepared
from minillm.cli.opening import open_together, saved_settings
from minillm.data import Tokens, show_example
from minillm.hub import load_tokenizer
from minillm.system import ALONE, Alone, Compute, pick_device, seed_everything, write_json
from minillm.text import Tokenizer
from minillm.training import (
    History,
    RunFolder,
    Sharded,
    TrainConfig,
    describe,
    fit,
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
    together: Alone = ALONE  # the processes of this run

    def __init__(self, settings: Any, run: RunFolder, compute: Compute, given: dict, resuming: bool = False):
        self.settings, self.run, self.compute = settings, run, compute
        self.given, self.resuming = given, resuming

    @classmethod
    def start(cls, settings: Any, given: dict) -> int:
        """Open the folder of a run and live its life. given: the flags that were typed. Returns: the exit status."""
        with open_together(settings, given, cls.name, cls.folder_name, cls.complete) as (run, settings, together):
            compute = pick_device(settings.machine.device, settings.machine.dtype)
            command = cls(settings, run, compute, given, settings.run.resume)
            command.together = together
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
        if self.together.world > 1:
            self.share()
        history = self.learn(self.resuming and self.run.last_file.exists())
        self.measured = None if history.stopped == "interrupted" else self.measure()
        self.together.end()
        if not self.together.leads:
            return 130 if history.stopped == "interrupted" else 0
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
        watched = self.valid.spread(self.watched)
        return {"val_loss": mean_loss(model, self.objective, watched, self.compute, self.together)}

    @property
    def samples_validation(self) -> bool:
        """Whether a point of the curve is measured on less than all validation data."""
        return self.watched is not None and len(self.valid) > self.watched

    def learn(self, resume: bool) -> History:
        """Train `self.model` on `self.batches`, by `self.objective` and as `self.config` says."""
        loss = self.prepared.objective(self.objective) if self.prepared else self.objective
        after_step = self.prepared.after_step(self.config.steps) if self.prepared else None
        more = {"run": self.run, "resume": resume, "after_step": after_step}
        more |= {"together": self.together, "progress": self.together.leads}
        return fit(self.model, loss, self.batches, replace(self.config, unit=self.unit), self.watch, **more)

    def measure(self) -> Any:
        """What all processes measure together of the trained model; `report` finds it in `self.measured`."""

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
        if len(set(self.together.gather(data))) > 1:
            raise ValueError("the processes of this run have read different data: give the same files to all of them")
        if self.resuming:
            if self.run.config().get("data") != data:
                raise ValueError(f"{self.run.path}: {self.other_data}")
            return
        if not self.together.leads:
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

    def tokens_of(self, corpus: Any, part: str, tokenizer: Tokenizer, name: str) -> Tokens:
        """The token ids of a part of a text, under a name: worked out by one process, and read by the others."""
        if not self.together.leads:
            self.together.wait()
        tokens = corpus.tokens(part, tokenizer, self.tokens_file(name))
        if self.together.leads:
            self.together.wait()
        return tokens

    def share(self) -> None:
        """Say how a step is shared; with --shard, share the model too."""
        world, accumulate = self.together.world, getattr(self.config, "accumulate", None)
        each = f", each with {accumulate // world} of the {accumulate} micro-batches of a step" if accumulate else ""
        shard = getattr(self.settings.training, "shard", False)
        print(f"{world} processes{each}{' and a part of the model' if shard else ''}")
        if shard:
            self.together = Sharded(self.together)

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
            **({"processes": self.together.world} if self.together.world > 1 else {}),
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


def check_context(context: int | None, model: nn.Module, run: RunFolder) -> None:
    """Raises: ValueError for a --context that is longer than what the model of a run reads."""
    longest = getattr(model.config, "context", context)
    if context and context > longest:
        raise ValueError(f"--context {context} is longer than the {longest} of the model in {run.path}")
