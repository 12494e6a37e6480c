"""`train.py pretrain`: raw text to a decoder that writes."""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from minillm import tales
from minillm.cli.common import (
    Corpus,
    Learning,
    TextData,
    bigram_loss,
    check_context,
    fingerprint,
    floor,
    load_corpus,
    make_tokenizer,
    open_run,
    saved_settings,
    tokenize_both,
    write_metrics,
)
from minillm.cli.flags import flag
from minillm.data import Windows, show_example
from minillm.hub import describe, load_causal, load_tokenizer
from minillm.inference import write
from minillm.models import LSTMLM, RECIPES, BigramLM, Decoder, LSTMConfig, ModelConfig
from minillm.report import loss_curve, picture
from minillm.system import pick_device, seed_everything, write_text
from minillm.text import Tokenizer
from minillm.training import RunFolder, TrainConfig, causal_lm, fit, mean_loss

WATCHED = 6  # batches of validation text behind each point of the curve; the loss reported at the end is of all of it


@dataclass(frozen=True, kw_only=True)
class Pretrain(Learning, TextData):
    """Settings of pre-training. What is 0 follows from --depth."""

    out: Path | None = flag(None, "folder of the run (default: runs/pretrain, numbered when taken)")
    from_: Path | None = flag(None, "a run to go on from, on new text, with its model and tokenizer")
    resume: bool = flag(False, "go on with a run that was stopped: the one in --out, or the newest")
    model: str = flag("decoder", "the kind of model", choices=("decoder", "lstm", "bigram"))
    recipe: str = flag("minillm", "the parts a decoder is made of", choices=tuple(RECIPES))
    depth: int = flag(
        0, "layers: the one dial from which size, batch, learning rates and steps follow (0: 2 on a CPU, 6 on a GPU)"
    )
    width: int = flag(0, "channels (0: 64 a head)")
    heads: int = flag(0, "attention heads (0: one a layer)")
    context: int = flag(0, "tokens that the model reads at once (0: 256)")
    dropout: float = flag(0.0, "share of activations dropped in training")
    batch_size: int = flag(0, "windows in one micro-batch (0: from --depth)")
    accumulate: int = flag(1, "micro-batches in one step")
    max_steps: int = flag(0, "steps of training; the schedule spans them (0: from --depth)")
    optimizer: str = flag("muon", "of the matrices; the rest has AdamW", choices=("muon", "adamw"))
    learning_rate: float = flag(0.0, "peak rate of AdamW (0: from --optimizer)")
    matrix_learning_rate: float = flag(0.0125, "peak rate of Muon")
    head_learning_rate: float = flag(0.0, "peak rate of the output layer (0: from --optimizer)")
    weight_decay: float = flag(0.0, "pull of every matrix towards zero")
    warmup: int = flag(0, "steps over which the rates rise")
    decay: str = flag("linear", "how the rates fall", choices=("linear", "cosine", "constant"))
    decay_share: float = flag(0.8, "part of the run over which a linear decay falls")
    clip: float = flag(1.0, "largest norm of a gradient (0: no limit)")
    eval_every: int = flag(0, "steps between evaluations (0: a tenth of the run)")
    patience: int = flag(0, "evaluations without a better one before stopping (0: never)")
    compile: bool = flag(False, "torch.compile the model; pays on a GPU")
    samples: int = flag(8, "texts written into samples.txt at the end")


@dataclass(frozen=True, kw_only=True)
class Bigram(Pretrain):
    """Settings of the baseline: those of pre-training, for a table that looks at one token."""

    model: str = flag("bigram", "the kind of model", choices=("bigram",))
    learning_rate: float = flag(0.3, "peak rate of AdamW")


def run_bigram(settings: Bigram, given: dict) -> int:
    """Train a bigram by gradient, the baseline; it ends near the loss of the counted one, which is printed too.

    python train.py bigram
    python train.py bigram --data my.txt
    """
    return run_pretrain(settings, given)


def run_pretrain(settings: Pretrain, given: dict) -> int:
    """Train a decoder on text, and leave a run folder that every later stage can build on.

    python train.py                                       the tales, with what fits this machine
    python train.py pretrain --data my.txt                your text, blank lines between documents
    python train.py pretrain --data book.txt --documents file --tokenizer characters
    python train.py pretrain --depth 8 --device cuda      a larger model
    python train.py pretrain --resume                     go on where a run was stopped
    """
    run, settings, resuming = open_run(settings, given, stage_of(settings))
    compute = pick_device(settings.device, settings.dtype)
    settings = follow_depth(settings, compute.device.type)
    seed_everything(settings.seed)
    corpus = load_corpus(settings)
    tokenizer, model = build(settings, corpus)
    train, valid = tokenize_both(corpus, tokenizer)
    context = settings.context
    train_windows = Windows(train, context, settings.batch_size, seed=settings.seed)
    valid_windows = Windows(valid, context, settings.batch_size)
    if settings.show:
        show_example(tokenizer, next(iter(train_windows)))
        print("what the model says at a position is scored against the label of the next one")
        return 0
    levels = {"bigram": bigram_loss(train, valid, tokenizer.vocab_size), "floor": floor(corpus.valid, valid)}
    announce(settings, corpus, tokenizer, train, model, levels, run)
    data = fingerprint(train)
    names = TrainConfig.__dataclass_fields__.keys() & settings.__dataclass_fields__.keys()
    config = TrainConfig(steps=settings.max_steps, **{name: getattr(settings, name) for name in names})
    if resuming and run.config().get("data") != data:
        raise ValueError(f"{run.path}: the text is not the one that this run began with; bring it back to resume")
    if not resuming:
        tokenizer.save(run.path / "tokenizer.json")
        run.save_config(
            stage=stage_of(settings),
            model=describe(model),
            tokenizer=tokenizer.fingerprint,
            data=data,
            settings=saved_settings(settings),
            documents="file" if corpus.whole else "blank-line",
        )

    def evaluate(model: nn.Module) -> dict:
        return {"val_loss": mean_loss(model, causal_lm, islice(valid_windows, WATCHED), compute)}

    history = fit(
        model, causal_lm, train_windows, config, evaluate, run=run, resume=resuming and run.last_file.exists()
    )
    if history.stopped == "interrupted":
        resume = f"python train.py {stage_of(settings)} --resume --out {run.path}"
        print(f"stopped at step {history.step} of {config.steps}; go on with: {resume}")
        return 130
    report(settings, run, model, tokenizer, corpus, valid_windows, history, compute, levels)
    return 0


def stage_of(settings: Pretrain) -> str:
    """The name of the stage, as on the command line."""
    return "bigram" if isinstance(settings, Bigram) else "pretrain"


def follow_depth(settings: Pretrain, device: str) -> Pretrain:
    """Fill in what was left at 0. Every number of the dial stands here."""
    depth = settings.depth or (6 if device == "cuda" else 2)
    heads = settings.heads or depth
    width = settings.width or 64 * heads
    context = settings.context or 256
    batch_size = settings.batch_size or max((8192 if device == "cuda" else 2048) // context, 1)
    steps = settings.max_steps or 740
    return replace(
        settings,
        depth=depth,
        heads=heads,
        width=width,
        context=context,
        batch_size=batch_size,
        max_steps=steps,
        learning_rate=settings.learning_rate or (2e-2 if settings.optimizer == "muon" else 1e-3),
        head_learning_rate=settings.head_learning_rate or (3e-2 if settings.optimizer == "muon" else 1e-3),
        eval_every=settings.eval_every or max(steps // 10, 1),
    )


def build(settings: Pretrain, corpus: Corpus) -> tuple[Tokenizer, nn.Module]:
    """A tokenizer and a model: new ones, or those of --from."""
    if settings.from_ is not None:
        source = RunFolder(settings.from_)
        tokenizer, model = load_tokenizer(source), load_causal(source)
        check_context(settings.context, model, source)
        return tokenizer, model
    tokenizer = make_tokenizer(settings, corpus)
    if settings.model == "bigram":
        return tokenizer, BigramLM(tokenizer.vocab_size)
    if settings.model == "lstm":
        return tokenizer, LSTMLM(LSTMConfig(tokenizer.vocab_size, settings.depth, settings.width, settings.dropout))
    return tokenizer, Decoder(
        ModelConfig(
            vocab_size=tokenizer.vocab_size,
            context=settings.context,
            layers=settings.depth,
            width=settings.width,
            heads=settings.heads,
            recipe=settings.recipe,
            dropout=settings.dropout,
        )
    )


def announce(settings, corpus: Corpus, tokenizer: Tokenizer, train, model, levels: dict, run: RunFolder) -> None:
    """Say what is going to happen."""
    width = sum(map(len, corpus.train)) / len(train)
    size = f"{sum(p.numel() for p in model.parameters()):,} parameters"
    batch = settings.batch_size * settings.accumulate * settings.context
    known = ", ".join(f"{name} {value:.3f}" for name, value in levels.items() if value is not None)
    print(
        f"{corpus.name}: {len(corpus.train):,} documents, {len(train):,} tokens of {width:.1f} characters, "
        f"and {len(corpus.valid):,} documents to measure on\n"
        f"{settings.model}: {settings.depth} layers, {settings.width} channels, context {settings.context}, "
        f"{tokenizer.vocab_size:,} tokens, {size}\n"
        f"losses to compare with, in nats per token: {known}\n"
        f"{settings.max_steps:,} steps of {batch:,} tokens, into {run.path}"
    )


def report(settings, run, model, tokenizer, corpus, valid_windows, history, compute, levels) -> None:
    """Measure exactly, draw, write samples, and say how it went."""
    val_loss = mean_loss(model, causal_lm, valid_windows, compute)
    generator = torch.Generator(compute.device).manual_seed(settings.seed)
    prompts = ["\n" if corpus.whole else ""] * settings.samples
    texts = write(model, tokenizer, prompts, valid_windows.context, generator=generator)
    write_text(run.path / "samples.txt", "\n\n".join(texts) + "\n")
    with picture(run.path / "loss.png") as ax:
        loss_curve(history, levels, ax)
    scores = {"val_loss": val_loss, "bigram_loss": levels["bigram"], "floor": levels["floor"]}
    if levels["floor"] is not None:
        scores["gap_closed"] = (levels["bigram"] - val_loss) / (levels["bigram"] - levels["floor"])
        scores["good_samples"] = sum(tales.judge(text).score == 1 for text in texts) / max(len(texts), 1)
    metrics = write_metrics(run, stage_of(settings), model, history, compute, **scores)
    gap = scores.get("gap_closed", 0)
    closed = f", {gap:.1%} of the way from the bigram to the floor" if gap > 0 else ""
    print(
        f"validation loss {val_loss:.4f} nats per token{closed}; {metrics['seconds']:.0f} seconds\n"
        f"{run.path}/loss.png shows how it learned; one of {run.path}/samples.txt:\n\n{texts[0] if texts else ''}\n\n"
        f"write more with: python train.py generate --from {run.path}"
    )
