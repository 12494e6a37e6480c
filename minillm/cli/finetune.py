"""Fine-tuning: a trained model, records, one loop; what classify, pair, tag, encode, sft, reward and dpo share.

A command is a `Task`: a class whose methods say how its files are read, how a record becomes an example, which model
and which loss it has, and how it is scored. Everything else stands here once.
"""

import copy
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from minillm.cli.advice import advice, before_alignment, say
from minillm.cli.flags import auto, change, flag, flag_name, group, refuse
from minillm.cli.life import TrainingCommand, check_context, numbers_in, train_config
from minillm.cli.memory import check_size
from minillm.cli.methods import MethodSettings, Prepared, prepare
from minillm.cli.settings import MOST_LAYERS, Machine, RecordSource, RunChoice, Training
from minillm.data import Padded, Parts, Record, frame_of, label_names, load_parts
from minillm.hub import base_of, load_model, load_tokenizer, model_kind
from minillm.inference import predict
from minillm.models import LSTMLM, Decoder, Encoder, LSTMConfig, ModelConfig
from minillm.peft import AdapterRun, adapter_bytes, bare, simplify
from minillm.report import loss_curve, picture, short
from minillm.system import write_text
from minillm.tales import data_file
from minillm.text import Tokenizer
from minillm.training import History, LossFunction, RunFolder, TrainConfig

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


@dataclass(frozen=True, kw_only=True)
class NewModel:
    """Model."""

    trunk: str = flag("encoder", "the kind of a new model", choices=("encoder", "decoder", "lstm"))
    depth: int = flag(2, "layers of a new model", most=MOST_LAYERS)
    width: int = flag(128, "channels of a new model")
    heads: int = flag(2, "attention heads of a new model")
    tokenizer: str = flag("bpe", "of a new model: bpe or characters, trained on the texts; or a tokenizer.json")
    vocab_size: int = flag(1536, "tokens of a bpe tokenizer, special ones included")
    pooling: str | None = auto(
        "how a text is read off its tokens; auto: by the kind of trunk", choices=("auto", "first", "last", "mean")
    )
    dropout: float = flag(0.1, "share of activations dropped before the head")


@dataclass(frozen=True, kw_only=True)
class HeadSettings(TuningSettings):
    """Task."""

    model: NewModel = group(NewModel)


class Task(TrainingCommand):
    """Fine-tuning, but for what a task says of itself."""

    other_data = "the examples are not those that this run began with; bring them back to resume"
    files: ClassVar[tuple[str, ...]]  # NAME_train.jsonl, _valid and _test of each name are the tales' own
    objective: LossFunction
    unit = "texts"
    choices: int | None = None  # among how many a guess would choose
    headline: tuple[str, ...] = ("accuracy",)  # the scores that count, the first that a baseline has too
    ceilings: tuple[str, ...] = ()  # baselines that nobody is expected to reach
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
        """Batches in random order; in the order that they came in without a seed."""
        return Padded(examples, self.tokenizer.pad_id, self.settings.training.batch_size, seed=seed)

    def answers(self) -> list:
        """What the model says of each record of the test."""
        return predict(self.model, self.in_batches(self.test_examples), self.compute)

    def scores(self, answers: list) -> dict:
        """The scores of answers; writes pictures and predictions into the run's folder."""
        raise NotImplementedError

    def baselines(self) -> dict[str, dict]:
        """The scores of others, by name."""
        return {}

    # The life of a task

    def read(self) -> None:
        self.parts = self.load_parts()
        self.label_names = label_names(self.parts)

    def load_parts(self) -> Parts:
        """The user's records, or the tales'; as many of the training ones as --examples says."""
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
        if source.examples:
            generator = torch.Generator().manual_seed(seed)
            order = torch.randperm(len(parts.train), generator=generator)[: source.examples]
            parts.train = [parts.train[i] for i in order.tolist()]
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
        check_context(settings.context, trunk, self.run if settings.from_ is None else RunFolder(settings.from_))
        self.use(tokenizer, self.prepared.model, self.label_names)
        self.train = self.examples(self.parts.train)

    def use(self, tokenizer: Tokenizer, model: nn.Module, names: list[str]) -> None:
        """Work with this model from now on; names: of the classes."""
        trunk = getattr(model, "trunk", model)
        context = self.settings.context or getattr(trunk.config, "context", 256)
        self.settings = change(self.settings, context=context)
        self.tokenizer, self.model, self.label_names = tokenizer, model, names
        self.frame, self.classes = frame_of(trunk, tokenizer), {name: index for index, name in enumerate(names)}

    def examples(self, records: list[Record]) -> list:
        """Records as what the model reads."""
        return self.enrich([self.example(record) for record in records])

    def example_batch(self) -> dict:
        return next(iter(self.in_batches(self.train[:1])))

    def prepare(self) -> None:
        say_what_is_cut(self.parts.train, self.train, self.settings.context)
        self.batches = self.in_batches(self.train, self.settings.machine.seed)
        self.valid = self.in_batches(self.examples(self.parts.valid))
        self.test_records, self.test_examples = self.parts.test, self.examples(self.parts.test)
        self.config = tuning_config(self.settings, self.batches.examples, self.prepared)

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
        print(
            f"{self.name}: {len(parts.train):,} examples to learn from, {len(parts.valid):,} to watch, "
            f"{len(parts.test):,} to score{classes}\n{type(bare(self.model)).__name__}: {self.prepared.learns}; "
            f"{self.config.steps:,} steps{f' from {source}' if source else ''}, into {self.run.path}"
        )

    def fingerprint(self) -> str:
        rows = [(*record.texts, record.label) for record in self.parts.train]
        return hashlib.sha256(repr(rows).encode()).hexdigest()

    def more_config(self) -> dict:
        base = base_of(RunFolder(self.settings.from_), self.run, self.adapter) if self.adapter else None
        return {"labels": self.label_names, "base": base}

    def report(self, history: History) -> None:
        if self.adapter:
            self.run.save_model(simplify(copy.deepcopy(self.model)))  # without the networks that have done their work
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
            print(f"the adapter's files take {size['adapter_bytes']:,} bytes; memory at most {memory:,.0f} MB")
        print(f"{self.run.path}/predictions.jsonl holds every answer")
        say(advice(history.best, choices, scores, below, self.headline))

    def write_predictions(self, rows: list[dict]) -> None:
        """predictions.jsonl: what the model said of every scored example, to look at."""
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(self.run.path / "predictions.jsonl", lines)


class HeadTask(Task):
    """A task whose model is a head on a trunk."""

    def head(self, trunk: nn.Module) -> nn.Module:
        """The head on this trunk."""
        raise NotImplementedError

    def new_model(self, texts: list[str]) -> tuple[Tokenizer, nn.Module]:
        tokenizer, trunk = self.new_trunk(texts)
        return tokenizer, self.head(trunk)

    def new_trunk(self, texts: list[str]) -> tuple[Tokenizer, nn.Module]:
        """A tokenizer and a trunk: those of --from, or new ones."""
        model, context = self.settings.model, self.settings.context
        if self.settings.from_ is not None:
            if not self.resuming:
                own = f"the trunk and its tokenizer are those of {self.settings.from_}"
                refuse(self.given, ("trunk", "depth", "width", "heads", "tokenizer", "vocab_size"), own)
            source = RunFolder(self.settings.from_)
            tokenizer, trunk = load_tokenizer(source), load_model(source.path)
            trunk = getattr(trunk, "trunk", trunk)
            if not hasattr(trunk, "hidden"):
                raise ValueError(f"{source.path}: {model_kind(trunk)} has no vectors for a head to read")
            return tokenizer, trunk
        if model.tokenizer == "bpe":
            tokenizer = Tokenizer.train(texts, model.vocab_size)
        elif model.tokenizer == "characters":
            tokenizer = Tokenizer.characters(texts)
        else:
            tokenizer = Tokenizer.load(model.tokenizer)
        check_size(self.compute, tokenizer.vocab_size, context or 256, model.depth, model.width)
        if model.trunk == "lstm":
            return tokenizer, LSTMLM(LSTMConfig(tokenizer.vocab_size, model.depth, model.width))
        size = {"layers": model.depth, "width": model.width, "heads": model.heads}
        encoder = model.trunk == "encoder"
        config = ModelConfig(tokenizer.vocab_size, context or 256, **size, segments=2 if encoder else 0)
        return tokenizer, (Encoder if encoder else Decoder)(config)


def tuning_config(settings: TuningSettings, rows: int, prepared: Prepared | None = None) -> TrainConfig:
    """Steps from epochs; rates that rise over the first tenth and fall to 0. rows: of the batches in one epoch.

    An adapter learns by AdamW at its own rate, and a new head beside it at the command's.
    """
    training, examples = settings.training, settings.records.examples
    epochs = EPOCHS["run" if settings.from_ else "scratch"] if training.epochs is None else training.epochs
    if not 0 <= epochs < math.inf or examples < 0:
        raise ValueError(f"--epochs {epochs:g} and --examples {examples}: neither may be negative")
    steps = training.max_steps or max(round(epochs * rows / training.batch_size), SHORTEST)
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
