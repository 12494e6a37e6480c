"""`train.py mlm`: raw text to an encoder that reads both ways.

Masked language modelling, alone or with next-sentence prediction (Devlin et al. 2019, section 3.1). Each document is a
row of its own; with next sentences, a row is the two halves of a document, or the halves of two.
"""

from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from torch import nn

from minillm.cli.common import (
    Learning,
    TextData,
    load_corpus,
    make_tokenizer,
    open_run,
    saved_settings,
    text_fingerprint,
    write_metrics,
)
from minillm.cli.flags import flag
from minillm.data import IGNORE_INDEX, Padded, encoder_frame, mask_tokens, pair_example, show_example, text_example
from minillm.hub import describe, load_model, load_tokenizer, model_kind
from minillm.models import RECIPES, Encoder, ModelConfig, SequenceClassifier
from minillm.report import loss_curve, picture
from minillm.system import pick_device, seed_everything
from minillm.text import Tokenizer
from minillm.training import RunFolder, TrainConfig, fit, inputs_of, masked_lm, masked_lm_and_next_sentence, mean_loss

WATCHED = 8  # batches behind each point of the curve; the loss reported at the end is of all of the validation text


@dataclass(frozen=True, kw_only=True)
class MLM(Learning, TextData):
    """Settings of masked language modelling."""

    out: Path | None = flag(None, "folder of the run (default: runs/mlm, numbered when taken)")
    from_: Path | None = flag(None, "a run of mlm to go on from, on new text, with its model and tokenizer")
    resume: bool = flag(False, "go on with a run that was stopped: the one in --out, or the newest")
    recipe: str = flag("minillm", "the parts the encoder is made of", choices=tuple(RECIPES))
    depth: int = flag(2, "layers")
    width: int = flag(128, "channels")
    heads: int = flag(2, "attention heads")
    context: int = flag(256, "tokens that the model reads at once; longer documents are cut into pieces")
    dropout: float = flag(0.0, "share of activations dropped in training")
    mask: float = flag(0.15, "share of the tokens to hide and to guess")
    next_sentence: bool = flag(False, "learn beside it whether the second half of a text belongs to the first")
    batch_size: int = flag(16, "documents in a step")
    max_steps: int = flag(2400, "steps of training; the schedule spans them")
    learning_rate: float = flag(0.02, "peak rate of AdamW")
    matrix_learning_rate: float = flag(0.0125, "peak rate of Muon")
    head_learning_rate: float = flag(0.03, "peak rate of the output layer")
    weight_decay: float = flag(0.0, "pull of every matrix towards zero")
    warmup: int = flag(0, "steps over which the rates rise")
    decay_share: float = flag(0.8, "part of the run over which the rates fall to 0")
    clip: float = flag(1.0, "largest norm of a gradient (0: no limit)")
    eval_every: int = flag(0, "steps between evaluations (0: a tenth of the run)")
    patience: int = flag(0, "evaluations without a better one before stopping (0: never)")

    def __post_init__(self):
        if not 0 <= self.mask <= 1:
            raise ValueError(f"--mask {self.mask}: the share of tokens to hide must lie between 0 and 1")


def run_mlm(settings: MLM, given: dict) -> int:
    """Train an encoder to restore hidden tokens, and leave a run folder for classify, pair, tag and encode.

    python train.py mlm                                     the tales
    python train.py mlm --data my.txt                       your text
    python train.py mlm --next-sentence                     with BERT's second objective
    """
    run, settings, resuming = open_run(settings, given, "mlm")
    settings = replace(settings, eval_every=settings.eval_every or max(settings.max_steps // 10, 1))
    compute = pick_device(settings.device, settings.dtype)
    seed_everything(settings.seed)
    corpus = load_corpus(settings)
    tokenizer, encoder = build(settings, corpus)
    model = SequenceClassifier(encoder, 2) if settings.next_sentence else encoder
    train, valid = (rows(documents, tokenizer, settings) for documents in (corpus.train, corpus.valid))

    def hide(batch: dict, generator: torch.Generator) -> dict:
        input_ids, labels = mask_tokens(batch["input_ids"], tokenizer, settings.mask, generator)
        return {**batch, "input_ids": input_ids, "labels": labels}

    batches = Padded(train, tokenizer.pad_id, settings.batch_size, seed=settings.seed, change=hide)
    watched = Padded(valid, tokenizer.pad_id, settings.batch_size, change=hide)
    if settings.show:
        show_example(tokenizer, next(iter(batches)))
        return 0
    own = {name: getattr(settings, name) for name in TrainConfig.__dataclass_fields__ if hasattr(settings, name)}
    config = TrainConfig(steps=settings.max_steps, **own)
    objective = masked_lm_and_next_sentence if settings.next_sentence else masked_lm
    data = text_fingerprint(corpus.train)
    print(
        f"{corpus.name}: {len(train):,} rows to learn from, {len(valid):,} to measure on\n"
        f"Encoder: {settings.depth} layers, {settings.width} channels, {tokenizer.vocab_size:,} tokens, "
        f"{sum(p.numel() for p in model.parameters()):,} parameters\n"
        f"{settings.max_steps:,} steps of {settings.batch_size} rows, {settings.mask:.0%} of the tokens hidden, "
        f"into {run.path}"
    )
    if resuming and run.config().get("data") != data:
        raise ValueError(f"{run.path}: the text is not the one that this run began with; bring it back to resume")
    if not resuming:
        tokenizer.save(run.path / "tokenizer.json")
        described = {"model": describe(model), "tokenizer": tokenizer.fingerprint, "data": data}
        run.save_config(stage="mlm", **described, settings=saved_settings(settings))

    def evaluate(model: nn.Module) -> dict:
        return {"val_loss": mean_loss(model, objective, islice(watched, WATCHED), compute)}

    history = fit(model, objective, batches, config, evaluate, run=run, resume=resuming and run.last_file.exists())
    if history.stopped == "interrupted":
        print(f"stopped; go on with: python train.py mlm --resume --out {run.path}")
        return 130
    scores = masked_scores(model, watched, settings, compute)
    with picture(run.path / "loss.png") as ax:
        loss_curve(history, ax=ax)
    metrics = write_metrics(run, "mlm", model, history, compute, **scores, bigram_loss=None, floor=None)
    print(
        ", ".join(f"{name} {value:.4f}" for name, value in scores.items()) + f"; {metrics['seconds']:.0f} seconds\n"
        f"use it with: python train.py classify --from {run.path}"
    )
    return 0


def build(settings: MLM, corpus) -> tuple[Tokenizer, Encoder]:
    """A tokenizer and an encoder: new ones, or those of --from."""
    if settings.from_ is not None:
        source = RunFolder(settings.from_)
        model = load_model(source.path)
        model = getattr(model, "trunk", model)
        if not isinstance(model, Encoder):
            raise ValueError(f"{source.path} holds {model_kind(model)}: mlm goes on from a run of mlm")
        return load_tokenizer(source), model
    tokenizer = make_tokenizer(settings, corpus)
    size = {"layers": settings.depth, "width": settings.width, "heads": settings.heads, "dropout": settings.dropout}
    config = ModelConfig(tokenizer.vocab_size, settings.context, **size, recipe=settings.recipe, segments=2)
    return tokenizer, Encoder(config)


def rows(documents: list[str], tokenizer: Tokenizer, settings: MLM) -> list[dict]:
    """The examples: documents, or pieces of those that are too long; with next sentences, halves that belong or not."""
    frame = encoder_frame(tokenizer)
    encoded = tokenizer.encode_batch(documents)
    if settings.next_sentence:
        return halves(encoded, frame, settings)
    room = settings.context - 2
    pieces = [ids[start : start + room] for ids in encoded for start in range(0, max(len(ids), 1), room)]
    return [text_example(ids, frame, settings.context) for ids in pieces if ids]


def halves(encoded: list[list[int]], frame, settings: MLM) -> list[dict]:
    """Each document cut in the middle; every other one gets the second half of another document."""
    generator = torch.Generator().manual_seed(settings.seed)
    encoded = [ids for ids in encoded if len(ids) > 1]
    if len(encoded) < 2:
        raise ValueError("--next-sentence needs at least two documents, to put the halves of two together")
    others = torch.randint(1, len(encoded), (len(encoded),), generator=generator).tolist()
    examples = []
    for place, (ids, away) in enumerate(zip(encoded, others)):
        follows = place % 2
        other = ids if follows else encoded[(place + away) % len(encoded)]
        example = pair_example(ids[: len(ids) // 2], other[len(other) // 2 :], frame, settings.context)
        examples.append({**example, "follows": follows})
    return examples


@torch.no_grad()
def masked_scores(model: nn.Module, batches: Padded, settings: MLM, compute) -> dict:
    """The loss, and the share of hidden tokens that the model restores; of next sentences, the share it gets right."""
    encoder = getattr(model, "trunk", model)
    model.eval()
    right = hidden = follows = texts = 0
    for batch in map(compute.to_device, batches):
        keep = batch["labels"] != IGNORE_INDEX
        with compute.autocast():
            guesses = encoder(**inputs_of(batch), keep=keep).argmax(-1)
            if settings.next_sentence:
                follows += int((model(**inputs_of(batch)).argmax(-1) == batch["follows"]).sum())
        right, hidden = right + int((guesses == batch["labels"][keep]).sum()), hidden + int(keep.sum())
        texts += len(keep)
    scores = {"val_loss": mean_loss(encoder, masked_lm, batches, compute), "restored": right / max(hidden, 1)}
    return scores | ({"next_sentence": follows / texts} if settings.next_sentence else {})
