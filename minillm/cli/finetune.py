"""Fine-tuning: a trained model, records, one loop; what classify, pair, tag, encode and sft share.

A stage is a `Task`: how its files are read, how a record becomes an example, which head and which loss it has, and how
it is scored. Everything else stands here once.
"""

import copy
import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from minillm.cli.common import Learning, check_context, open_run, saved_settings, write_metrics
from minillm.cli.flags import flag, flag_name
from minillm.cli.methods import Method, Prepared, prepare
from minillm.cli.trunks import TRUNKS, build_trunk, frame_of
from minillm.data import Padded, Parts, Record, RecordReader, label_names, load_parts, show_example
from minillm.hub import base_of, describe
from minillm.peft import AdapterRun, adapter_bytes, bare, simplify
from minillm.report import loss_curve, picture
from minillm.system import Compute, pick_device, seed_everything, write_text
from minillm.tales import data_file
from minillm.text import Tokenizer
from minillm.training import History, RunFolder, TrainConfig, fit, inputs_of, mean_loss

SHORTEST = 100  # steps of a run on very few examples


@dataclass(frozen=True, kw_only=True)
class Tuning(Method, Learning):
    """Settings of every stage that goes on with a trained model. What is 0 is chosen by the stage."""

    data: Path | None = flag(None, "examples to learn from; without it, those of the tales")
    valid: Path | None = flag(None, "examples to watch while learning; without it a share of --data is kept aside")
    test: Path | None = flag(None, "examples to score at the end; without it, those of --valid")
    valid_fraction: float = flag(0.1, "share of --data that is kept aside")
    examples: int = flag(0, "learn from so many examples only, the first of a random order (0: all)")
    from_: Path | None = flag(None, "the run of mlm or pretrain to begin with; without it, a new model from scratch")
    out: Path | None = flag(None, "folder of the run (default: runs/STAGE, numbered when taken)")
    resume: bool = flag(False, "go on with a run that was stopped: the one in --out, or the newest")
    context: int = flag(0, "tokens that the model reads; longer texts are cut (0: what the trunk reads, or 256)")
    epochs: float = flag(0.0, f"passes over the examples; {SHORTEST} steps at least (0: 7 from a run, 12 from scratch)")
    batch_size: int = flag(32, "examples in a step")
    max_steps: int = flag(0, "steps of training, whatever the epochs (0: from --epochs)")
    learning_rate: float = flag(2e-3, "peak rate of AdamW: embeddings and the output layer")
    matrix_learning_rate: float = flag(0.02, "peak rate of Muon: the trunk's matrices")
    weight_decay: float = flag(0.0, "pull of every matrix towards zero")
    clip: float = flag(1.0, "largest norm of a gradient (0: no limit)")
    eval_every: int = flag(0, "steps between evaluations (0: a tenth of the run)")
    patience: int = flag(0, "evaluations without a better one before stopping (0: never)")


@dataclass(frozen=True, kw_only=True)
class FineTune(Tuning):
    """Settings of every stage that puts a head on a trunk."""

    trunk: str = flag("encoder", "the kind of a new model", choices=TRUNKS)
    depth: int = flag(2, "layers of a new model")
    width: int = flag(128, "channels of a new model")
    heads: int = flag(2, "attention heads of a new model")
    tokenizer: str = flag("bpe", "of a new model: bpe or characters, trained on the texts; or a tokenizer.json")
    vocab_size: int = flag(1536, "tokens of a bpe tokenizer, special ones included")
    pooling: str = flag(
        "", "how a text is read off its tokens; empty: by the kind of trunk", choices=("", "first", "last", "mean")
    )
    dropout: float = flag(0.1, "share of activations dropped before the head")


@dataclass(frozen=True)
class Task:
    """What makes a stage: everything that `run_finetune` does not know."""

    stage: str
    files: tuple[str, ...]  # data/NAME_train.jsonl, _valid and _test of each name are the tales' own
    read: RecordReader
    labels: Callable[[Record], Sequence[str]] | None  # of a record; None where there are no classes
    example: Callable[..., Any]  # (record, tokenizer, frame, context, classes) -> an example, or a tuple of them
    objective: Callable
    report: Callable[..., dict]  # (outputs, Scored) -> scores; writes pictures and predictions
    baselines: Callable[..., dict]  # (parts, names, settings) -> {name: scores}
    head: Callable[[nn.Module, int, str, float], nn.Module] | None  # (trunk, number of classes, pooling, dropout)
    build: Callable[..., tuple[Tokenizer, nn.Module]]  # (task, settings, texts, classes)
    batches: Callable[..., Padded]  # (examples, tokenizer, settings, seed) -> batches; without a seed, all in order
    answer: Callable[..., list]  # (model, Scored, settings, place) -> what the model says of each record
    enrich: Callable[..., list] | None = None  # (model, examples, tokenizer, place): what is known before training
    watch: Callable[..., dict] | None = None  # (model, batches, place) -> "val_loss" and more; else the mean loss


class Scored(NamedTuple):
    """What a model is scored on: records, the examples made of them, names of classes, the run, its tokenizer."""

    records: list[Record]
    examples: list
    names: list[str]
    run: RunFolder
    tokenizer: Tokenizer


def run_finetune(task: Task, settings: Tuning, given: dict) -> int:
    """Read, build, train, score, report: the life of every such stage."""
    run, settings, resuming = open_run(settings, given, task.stage)
    compute = pick_device(settings.device, settings.dtype)
    seed_everything(settings.seed)
    parts = load(task, settings)
    names = label_names(parts, task.labels) if task.labels else []
    tokenizer, model = task.build(task, settings, [t for r in parts.train for t in r.prose], len(names))
    prepared = prepare(model, settings, tokenizer, settings.seed)
    if prepared.adapter and settings.from_ is None:
        raise ValueError(f"--method {settings.method} adapts a trained model: name its run by --from")
    check_rates(prepared, settings, given)
    run = AdapterRun(run.path, prepared.adapter) if prepared.adapter else run
    model, trunk = prepared.model, getattr(prepared.model, "trunk", prepared.model)
    check_context(settings.context, trunk, run if settings.from_ is None else RunFolder(settings.from_))
    settings = replace(settings, context=settings.context or getattr(trunk.config, "context", 256))
    frame = frame_of(trunk, tokenizer)
    classes = {name: index for index, name in enumerate(names)}

    def examples(records: list[Record]) -> list:
        made = [task.example(record, tokenizer, frame, settings.context, classes) for record in records]
        return task.enrich(model, made, tokenizer, compute) if task.enrich else made

    train = examples(parts.train)
    if settings.show:
        show_example(tokenizer, next(iter(task.batches(train[:1], tokenizer, settings, None))), names=names)
        return 0
    say_what_is_cut(parts.train, train, settings.context)
    batches = task.batches(train, tokenizer, settings, settings.seed)
    valid = task.batches(examples(parts.valid), tokenizer, settings, None)
    scored = Scored(parts.test, examples(parts.test), names, run, tokenizer)
    config = train_config(settings, batches.examples, prepared)
    data = hashlib.sha256(repr([(*record.texts, record.label) for record in parts.train]).encode()).hexdigest()
    announce(task, parts, names, prepared, config, run, settings.from_)
    if resuming and run.config().get("data") != data:
        raise ValueError(f"{run.path}: the examples are not those that this run began with; bring them back to resume")
    if not resuming:
        save_start(run, task, settings, prepared, tokenizer, names, data)

    def evaluate(model: nn.Module) -> dict:
        return watched(task, model, valid, compute)

    history = fit(
        model,
        prepared.objective(task.objective),
        batches,
        config,
        evaluate,
        run=run,
        resume=resuming and run.last_file.exists(),
        after_step=prepared.after_step(config.steps),
    )
    if history.stopped == "interrupted":
        print(f"stopped; go on with: python train.py {task.stage} --resume --out {run.path}")
        return 130
    if prepared.adapter:
        run.save_model(simplify(copy.deepcopy(model)))  # without the networks that have done their work
    scores = task.report(task.answer(model, scored, settings, compute), scored)
    finish(task, run, model, history, compute, scores, task.baselines(parts, names, settings))
    return 0


def watched(task: Task, model: nn.Module, valid: Padded, compute: Compute) -> dict:
    """The scores while learning."""
    if task.watch:
        return task.watch(model, valid, compute)
    return {"val_loss": mean_loss(model, task.objective, valid, compute)}


def save_start(
    run: RunFolder, task: Task, settings: Tuning, prepared: Prepared, tokenizer: Tokenizer, names: list[str], data: str
) -> None:
    """What a run folder says from the beginning."""
    tokenizer.save(run.path / "tokenizer.json")
    run.save_config(
        stage=task.stage,
        model=describe(prepared.model),
        labels=names,
        tokenizer=tokenizer.fingerprint,
        data=data,
        settings=saved_settings(settings),
        base=base_of(RunFolder(settings.from_), run, prepared.adapter) if prepared.adapter else None,
    )


def load(task: Task, settings: FineTune) -> Parts:
    """The user's records, or the tales'; as many of the training ones as --examples says."""
    if settings.data is None:
        if settings.valid or settings.test:
            raise ValueError("--valid and --test need --data: the tales have parts of their own")
        parts = Parts([], [], [])
        for name in task.files:
            own = [data_file(f"{name}_{part}.jsonl") for part in ("train", "valid", "test")]
            for part, more in vars(load_parts(task.read, *own, settings.valid_fraction, settings.seed)).items():
                getattr(parts, part).extend(more)
    else:
        given = settings.data, settings.valid, settings.test
        parts = load_parts(task.read, *given, settings.valid_fraction, settings.seed)
    if settings.examples:
        generator = torch.Generator().manual_seed(settings.seed)
        order = torch.randperm(len(parts.train), generator=generator)[: settings.examples]
        parts.train = [parts.train[i] for i in order.tolist()]
    return parts


def build_head(task: Task, settings: FineTune, texts: Sequence[str], classes: int) -> tuple[Tokenizer, nn.Module]:
    """A tokenizer, and the task's head on the trunk of --from or a new one."""
    tokenizer, trunk = build_trunk(settings, texts)
    return tokenizer, task.head(trunk, max(classes, 1), settings.pooling, settings.dropout)


def padded(examples: list, tokenizer: Tokenizer, settings: Tuning, seed: int | None) -> Padded:
    """Batches of examples in random order; in the order they came in without a seed."""
    return Padded(examples, tokenizer.pad_id, settings.batch_size, seed=seed)


def train_config(settings: Tuning, rows: int, prepared: Prepared | None = None) -> TrainConfig:
    """Steps from epochs; rates that rise over the first tenth and fall to 0. rows: of the batches in one epoch.

    An adapter learns by AdamW at its own rate, and a new head beside it at the stage's.
    """
    if not 0 <= settings.epochs < math.inf or settings.examples < 0:
        raise ValueError(f"--epochs {settings.epochs:g} and --examples {settings.examples}: neither may be negative")
    epochs = settings.epochs or (7 if settings.from_ else 12)
    steps = settings.max_steps or max(round(epochs * rows / settings.batch_size), SHORTEST)
    shared = TrainConfig.__dataclass_fields__.keys() & settings.__dataclass_fields__.keys()
    own = {name: getattr(settings, name) for name in shared} | {
        "eval_every": settings.eval_every or max(steps // 10, 1)
    }
    if prepared is not None and prepared.adapter:
        own |= {"optimizer": "adamw", "learning_rate": prepared.rate, "head_learning_rate": settings.learning_rate}
    return TrainConfig(steps=steps, warmup=max(steps // 10, 1), decay_share=0.9, **own)


def check_rates(prepared: Prepared, settings: Tuning, given: dict) -> None:
    """Raises ValueError for a rate that would change nothing: what an adapter learns has its own rate."""
    beside = hasattr(bare(prepared.model), "trunk") or settings.also  # a head, which has the stage's rate
    for name in ("matrix_learning_rate",) if beside else ("learning_rate", "matrix_learning_rate"):
        if prepared.adapter and name in given:
            own = f"what --method {settings.method} learns has --adapter-learning-rate"
            raise ValueError(f"{flag_name(name)} has no use here: {own}; leave it out")


def say_what_is_cut(records: list[Record], examples: list, context: int) -> None:
    """Say how many texts did not fit."""
    cut = [r for r, e in zip(records, examples) if any(one["cut"] for one in (e if isinstance(e, tuple) else (e,)))]
    if cut:
        print(
            f"{len(cut)} of {len(records)} examples are longer than the {context} tokens that the model reads; their "
            f"ends are cut off, first at {cut[0].place}"
        )


def announce(
    task: Task,
    parts: Parts,
    names: list[str],
    prepared: Prepared,
    config: TrainConfig,
    run: RunFolder,
    source: Path | None,
) -> None:
    """Say what is going to happen."""
    classes = f", {len(names)} labels ({', '.join(names[:6])}{', ...' if len(names) > 6 else ''})" if names else ""
    sizes = f"{len(parts.train):,} examples to learn from, {len(parts.valid):,} to watch, {len(parts.test):,} to score"
    kind, begins = type(bare(prepared.model)).__name__, f" from {source}" if source else ""
    print(f"{task.stage}: {sizes}{classes}\n{kind}: {prepared.learns}; {config.steps:,} steps{begins}, into {run.path}")


@torch.no_grad()
def predict(model: nn.Module, batches: Padded, compute: Compute) -> list[Tensor]:
    """What a head says of each example, in order: a row of its output, without padding."""
    model.eval()
    outputs = []
    for batch in batches:
        with compute.autocast():
            output = model(**inputs_of(compute.to_device(batch))).float().cpu()
        lengths = batch["attention_mask"].sum(1).tolist()
        outputs += [row[:length] if output.dim() == 3 else row for row, length in zip(output, lengths)]
    return outputs


def outputs_of(model: nn.Module, scored: Scored, settings: Tuning, compute: Compute) -> list[Tensor]:
    """What a head says of everything that is scored."""
    return predict(model, padded(scored.examples, scored.tokenizer, settings, None), compute)


def write_predictions(run: RunFolder, rows: list[dict]) -> None:
    """predictions.jsonl: what the model said of every scored example, to look at."""
    write_text(run.path / "predictions.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def finish(task: Task, run, model, history: History, compute: Compute, scores: dict, baselines: dict) -> None:
    """Draw the curve, write the scores, and say how it went, with what the baselines reach beside it."""
    with picture(run.path / "loss.png") as ax:
        loss_curve(history, ax=ax)
        ax.set(ylabel="loss (nats)")
    shown = {name: value for name, value in scores.items() if isinstance(value, float)}
    size = {"adapter_bytes": adapter_bytes(run.path)} if isinstance(run, AdapterRun) else {}
    metrics = write_metrics(
        run, task.stage, model, history, compute, val_loss=history.best, bigram_loss=None, floor=None, **scores,
        baselines=baselines, **size,
    )  # fmt: skip
    print(", ".join(f"{name} {value:.3f}" for name, value in shown.items()) + f"; {metrics['seconds']:.0f} seconds")
    for name, values in baselines.items():
        shown = {key: value for key, value in values.items() if isinstance(value, float)}
        print(f"  {name}: " + ", ".join(f"{key} {value:.3f}" for key, value in shown.items()))
    if isinstance(run, AdapterRun):
        memory = metrics["peak_memory_bytes"] / 1e6
        print(f"the adapter's files take {size['adapter_bytes']:,} bytes; memory at most {memory:,.0f} MB")
    print(f"{run.path}/predictions.jsonl holds every answer")
