"""Fine-tuning: a trained model, records, one loop; what classify, pair, tag, encode, sft, reward and dpo share.

A command is a `Task`: a class whose methods say how its files are read, how a record becomes an example, which model
and which loss it has, and how it is scored. Everything else stands here once.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from minillm.cli.advice import advice, before_alignment, say
from minillm.cli.flags import auto, change, flag, flag_name, group
from minillm.cli.life import TrainingCommand, check_context, numbers_in, train_config
from minillm.cli.memory import estimate, keeps_scores, logits_at_once, say_memory
from minillm.cli.methods import MethodSettings, Prepared, frozen_dtype, prepare
from minillm.cli.settings import Machine, RecordSource, RunChoice, Training
from minillm.data import (
    ByLength,
    Padded,
    Parts,
    Record,
    frame_of,
    label_names,
    load_parts,
    mean_token_length,
    unknown_labels,
)
from minillm.hub import Foreign, base_of, reading_length, source
from minillm.inference import check_numbers, predict
from minillm.peft import AdapterRun, adapter_bytes, bare, simplify
from minillm.report import loss_curve, picture, short
from minillm.system import to_json, write_text
from minillm.tales import data_file
from minillm.text import Tokenizer, keep_good
from minillm.training import History, LossFunction, TrainConfig

SHORTEST = 100  # steps of a run on very few examples
EPOCHS = {"run": 7, "scratch": 12}  # passes over the examples, by what a task begins with


@dataclass(frozen=True, kw_only=True)
class TuningTraining(Training):
    """Training. What is auto is chosen by the command."""

    epochs: float | None = auto(
        f"passes over the examples; {SHORTEST} steps at least; auto: {EPOCHS['run']} from a run, "
        f"{EPOCHS['scratch']} from scratch"
    )
    max_steps: int | None = auto("steps of training, whatever the epochs; auto: from --epochs")


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """Task."""

    from_: Path | None = flag(None, "the run of mlm or pretrain to begin with; without it, a new model from scratch")
    context: int | None = auto("tokens that the model reads; longer texts are cut; auto: what the trunk reads, or 256")
    records: RecordSource = group(RecordSource)
    training: TuningTraining = group(TuningTraining)
    method: MethodSettings = group(MethodSettings)
    run: RunChoice = group(RunChoice)
    machine: Machine = group(Machine)


class Task(TrainingCommand):
    """Fine-tuning, but for what a task says of itself."""

    other_data = "the examples are not those that this run began with; bring them back to resume"
    files: ClassVar[tuple[str, ...]]  # NAME_train.jsonl, _valid and _test of each name are the tales' own
    objective: LossFunction
    unit = "texts"
    choices: int | None = None  # among how many a guess would choose
    headline: tuple[str, ...] = ("accuracy",)  # the scores that count, the first that a baseline has too
    ceilings: tuple[str, ...] = ()  # baselines that nobody is expected to reach
    unknown: list[str] = []  # noqa: RUF012 - labels of scored records that were never learned
    adapter = ""  # the name of the adapter that learns, where one does

    # What a task says

    def read_file(self, path: Path) -> list[Record]:
        """The records of a file. Raises: ValueError with file and line for what is none."""
        raise NotImplementedError

    def new_model(self, texts: list[str]) -> tuple[Tokenizer, nn.Module]:
        """The tokenizer and the model to tune. texts: of the training records."""
        raise NotImplementedError

    def example(self, record: Record) -> Any:
        """A record as a dictionary of lists that a model reads, or a tuple of them."""
        raise NotImplementedError

    def enrich(self, examples: list) -> list:
        """The examples with what is known of them before training."""
        return examples

    def in_batches(self, examples: list, seed: int | None = None) -> Padded:
        """Batches in random order; without a seed in the order that they came in, or those of a length together."""
        return self.padded(seed)(examples, self.tokenizer.pad_id, self.settings.training.batch_size, seed=seed)

    def padded(self, seed: int | None) -> type[Padded]:
        """How examples are put into batches: to score a model that others made, those of about one length together."""
        origin = self.settings.from_
        alike = seed is None and origin is not None and isinstance(source(origin), Foreign)
        return ByLength if alike else Padded

    def answers(self) -> list:
        """What the model says of each record of the test."""
        outputs = predict(self.model, self.in_batches(self.test_examples), self.compute)
        check_numbers(outputs)
        return outputs

    def scores(self, answers: list) -> dict:
        """The scores of answers; writes pictures and predictions into the run's folder."""
        raise NotImplementedError

    def baselines(self) -> dict[str, dict]:
        """The scores of others, by name."""
        return {}

    def implied(self, names: list[str]) -> list[str]:
        """Labels that a model with these can be read to answer beside them."""
        return []

    # The life of a task

    @property
    def dtype(self) -> torch.dtype | None:
        """Of the weights that are loaded; None: fp32."""
        return frozen_dtype(source(self.settings.from_), self.settings.method, self.compute)

    def read(self) -> None:
        self.parts = self.load_parts()
        self.label_names = label_names(self.parts)
        self.unknown = unknown_labels(self.parts.test, self.label_names)
        if self.settings.records.examples:
            generator = torch.Generator().manual_seed(self.settings.machine.seed)
            order = torch.randperm(len(self.parts.train), generator=generator)[: self.settings.records.examples]
            self.parts.train = [self.parts.train[i] for i in order.tolist()]

    def load_parts(self) -> Parts:
        """The user's records, or the tales'."""
        source, seed = self.settings.records, self.settings.machine.seed
        if source.data is None:
            if source.valid or source.test:
                raise ValueError("--valid and --test need --data: the tales have parts of their own")
            parts = Parts([], [], [])
            for name in self.files:
                own = [data_file(f"{name}_{part}.jsonl") for part in ("train", "valid", "test")]
                for part, more in vars(load_parts(self.read_file, *own, source.valid_fraction, seed)).items():
                    getattr(parts, part).extend(more)
        else:
            given = source.data, source.valid, source.test
            parts = load_parts(self.read_file, *given, source.valid_fraction, seed)
        return parts

    def build(self) -> None:
        settings = self.settings
        tokenizer, model = self.new_model([text for record in self.parts.train for text in record.prose])
        self.prepared = prepare(model, settings.method, tokenizer, settings.machine.seed)
        if self.prepared.adapter and settings.from_ is None:
            raise ValueError(f"--method {settings.method.method} adapts a trained model: name its run by --from")
        self.check_rates()
        if self.prepared.adapter:
            self.adapter, self.run = self.prepared.adapter, AdapterRun(self.run.path, self.prepared.adapter)
        trunk = getattr(self.prepared.model, "trunk", self.prepared.model)
        check_context(settings.context, trunk, self.run if settings.from_ is None else source(settings.from_))
        self.use(tokenizer, self.prepared.model, self.label_names)
        self.train = self.examples(self.parts.train)

    def use(self, tokenizer: Tokenizer, model: nn.Module, names: list[str]) -> None:
        """Work with this model from now on; names: of the classes. Behind them come those that it cannot know."""
        trunk = getattr(model, "trunk", model)
        origin = self.settings.from_
        context = self.settings.context or reading_length(origin and source(origin), trunk)
        self.settings = change(self.settings, context=context)
        self.tokenizer, self.model, self.label_names = tokenizer, model, names
        self.frame = frame_of(trunk, tokenizer)
        self.classes = {name: index for index, name in enumerate([*names, *self.unknown])}

    def examples(self, records: list[Record]) -> list:
        """Records as what the model reads; what it cannot read, such as too long a prompt, goes from the list, said."""
        made = keep_good(
            [(record.line, record) for record in records], lambda _, record: (record, self.read_one(record))
        )
        records[:] = [record for record, _ in made]
        return self.enrich([example for _, example in made])

    def read_one(self, record: Record) -> Any:
        """Its example. Raises: ValueError with the record's place for what the model cannot read."""
        try:
            return self.example(record)
        except ValueError as error:
            raise ValueError(f"{record.place}: {error}") from None

    def example_batch(self) -> dict:
        return next(iter(self.in_batches(self.train[:1])))

    def prepare(self) -> None:
        say_what_is_cut(self.parts.train, self.train, self.settings.context)
        self.batches = self.in_batches(self.train, self.settings.machine.seed)
        self.valid = self.in_batches(self.examples(self.parts.valid))
        self.test_records, self.test_examples = self.parts.test, self.examples(self.parts.test)
        self.config = tuning_config(self.settings, self.batches.examples, self.prepared)
        self.say_memory()

    def say_memory(self) -> None:
        """Where the memory of a step will go."""
        pairs = len(self.batches.groups[0]) if self.batches.groups else 1
        rows, each = self.settings.training.batch_size * pairs, float(self.batches.lengths.double().mean())
        V, tokens = self.tokenizer.vocab_size, rows * each
        logits = 0 if hasattr(bare(self.model), "trunk") else logits_at_once(V, tokens)
        size, scores = self.compute.dtype.itemsize, keeps_scores(self.compute)
        expected = estimate(self.model, self.config.optimizer, rows, each, size, logits, scores)
        say_memory(expected, self.compute, self.settings.training.recompute, bool(self.adapter))

    def check_rates(self) -> None:
        """Raises: ValueError for a rate that would change nothing: what an adapter learns has its own rate."""
        method = self.settings.method
        beside = hasattr(bare(self.prepared.model), "trunk") or method.adapter.also  # a head has the command's rate
        for name in ("matrix_learning_rate",) if beside else ("learning_rate", "matrix_learning_rate"):
            if self.prepared.adapter and name in self.given:
                own = f"what --method {method.method} learns has --adapter-learning-rate"
                raise ValueError(f"{flag_name(name)} has no use here: {own}; leave it out")

    def announce(self) -> None:
        parts, names, source = self.parts, self.label_names, self.settings.from_
        some = ", ".join([*map(short, names[:6]), *(["..."] if len(names) > 6 else [])])
        classes = f", {len(names)} labels ({some})" if names else ""
        texts = [text for record in parts.train for text in record.prose]
        width = mean_token_length(texts, self.tokenizer, source)
        print(
            f"{self.name}: {len(parts.train):,} examples to learn from, {len(parts.valid):,} to watch, "
            f"{len(parts.test):,} to score{classes}; {width:.1f} characters a token\n"
            f"{type(bare(self.model)).__name__}: {self.prepared.learns}; "
            f"{self.config.steps:,} steps{f' from {source}' if source else ''}, into {self.run.path}"
        )

    def fingerprint(self) -> str:
        rows = [(*record.texts, record.label) for record in self.parts.train]
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def more_config(self) -> dict:
        base = base_of(source(self.settings.from_), self.run, self.adapter) if self.adapter else None
        return {"labels": self.label_names, "base": base}

    def report(self, history: History) -> None:
        if self.adapter:
            self.run.save_model(simplify(self.model))  # without the networks that have done their work, as it is scored
        scores, baselines = self.scores(self.answers()), self.baselines()
        with picture(self.run.path / "loss.png") as ax:
            loss_curve(history, ax=ax)
            ax.set(ylabel="loss (nats)")
        size = {"adapter_bytes": adapter_bytes(self.run.path)} if self.adapter else {}
        known = {"val_loss": history.best, "bigram_loss": None, "floor": None}
        metrics = self.write_metrics(history, **known, **scores, baselines=baselines, **size)
        print(f"{numbers_in(scores)}; {metrics['seconds']:.0f} seconds")
        for name, values in baselines.items():
            print(f"  {name}: {numbers_in(values)}")
        below = {name: values for name, values in baselines.items() if name not in self.ceilings}
        below |= before_alignment(scores)
        choices = self.choices or (len(self.label_names) if self.label_names else None)
        if self.adapter:
            memory = metrics["peak_memory_bytes"] / 1e6
            print(f"the adapter's file takes {size['adapter_bytes']:,} bytes; memory at most {memory:,.0f} MB")
        print(f"{self.run.path}/predictions.jsonl holds every answer")
        say(advice(history.best, choices, scores, below, self.headline))

    def write_predictions(self, rows: list[dict]) -> None:
        """predictions.jsonl: what the model said of every scored example, to look at."""
        lines = "".join(to_json(row) + "\n" for row in rows)
        write_text(self.run.path / "predictions.jsonl", lines)


def tuning_config(settings: TuningSettings, rows: int, prepared: Prepared | None = None) -> TrainConfig:
    """Steps from epochs; rates that rise over the first tenth and fall to 0. rows: of the batches in one epoch.

    An adapter learns by AdamW at its own rate, and a new head beside it at the command's.
    """
    training, examples = settings.training, settings.records.examples
    epochs = EPOCHS["run" if settings.from_ else "scratch"] if training.epochs is None else training.epochs
    if not 0 <= epochs < math.inf or examples < 0:
        raise ValueError(f"--epochs {epochs:g} and --examples {examples}: neither may be negative")
    steps = training.max_steps or max(round(epochs * rows / (training.batch_size * training.accumulate)), SHORTEST)
    more: dict[str, Any] = {"warmup": max(steps // 10, 1), "decay_share": 0.9}
    if prepared is not None and prepared.adapter:
        more |= {"optimizer": "adamw", "learning_rate": prepared.rate, "head_learning_rate": training.learning_rate}
    return train_config(training, settings.method, settings.machine, steps=steps, **more)


def say_what_is_cut(records: list[Record], examples: list, context: int) -> None:
    """Say how many texts did not fit."""
    cut = [r for r, e in zip(records, examples) if any(one["cut"] for one in (e if isinstance(e, tuple) else (e,)))]
    if cut:
        print(
            f"{len(cut)} of {len(records)} examples are longer than the {context} tokens that the model reads; their "
            f"ends are cut off, first at {cut[0].place}"
        )
