"""`train.py mlm`: raw text to an encoder that reads both ways.

Masked language modelling, alone or with next-sentence prediction (Devlin et al. 2019, section 3.1). Each document is a
row of its own; with next sentences, a row is the two halves of a document, or the halves of two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from minillm.cli.advice import advice, say
from minillm.cli.corpus import check_text_flags, load_corpus
from minillm.cli.flags import auto, change, flag, group, program
from minillm.cli.life import TrainingCommand, train_config
from minillm.cli.memory import check_size
from minillm.cli.methods import fold_adapters
from minillm.cli.settings import MOST_LAYERS, Machine, PreTraining, RunChoice, TextSource
from minillm.cli.size import check_size_flags, with_size_of
from minillm.data import (
    IGNORE_INDEX,
    Documents,
    Frame,
    PaddedPieces,
    Pieces,
    encoder_frame,
    mask_tokens,
    pair_example,
    text_example,
)
from minillm.hub import load_model, load_tokenizer, model_kind, source
from minillm.models import OWN_RECIPES, Encoder, ModelConfig, SequenceClassifier
from minillm.report import loss_curve, picture
from minillm.system import Compute
from minillm.text import Tokenizer
from minillm.training import History, RunFolder, inputs_of, masked_lm, masked_lm_and_next_sentence, mean_loss

CONTEXT = 256  # tokens that a new encoder reads, where nobody says


@dataclass(frozen=True, kw_only=True)
class EncoderSize:
    """Model."""

    recipe: str = flag("minillm", "the parts the encoder is made of", choices=OWN_RECIPES)
    depth: int = flag(2, "layers", most=MOST_LAYERS)
    width: int = flag(128, "channels")
    heads: int = flag(2, "attention heads")
    context: int | None = auto(
        f"tokens that the model reads at once; longer documents are cut into pieces; auto: {CONTEXT}"
    )
    dropout: float = flag(0.0, "share of activations dropped in training")


@dataclass(frozen=True, kw_only=True)
class MLMTraining(PreTraining):
    """Training."""

    batch_size: int = flag(16, "documents in a micro-batch")
    max_steps: int = flag(2400, "steps of training; the schedule spans them")
    learning_rate: float = flag(0.02, "peak rate of AdamW")
    head_learning_rate: float = flag(0.03, "peak rate of the output layer")


@dataclass(frozen=True, kw_only=True)
class MLMSettings:
    """What is trained."""

    from_: Path | None = flag(None, "a run of mlm to go on from, on new text, with its model and tokenizer")
    mask: float = flag(0.15, "share of the tokens to hide and to guess")
    next_sentence: bool = flag(False, "learn beside it whether the second half of a text belongs to the first")
    text: TextSource = group(TextSource)
    size: EncoderSize = group(EncoderSize)
    training: MLMTraining = group(MLMTraining)
    run: RunChoice = group(RunChoice)
    machine: Machine = group(Machine)

    def __post_init__(self):
        if not 0 <= self.mask <= 1:
            raise ValueError(f"--mask {self.mask}: the share of tokens to hide must lie between 0 and 1")


class MLM(TrainingCommand):
    """Train an encoder to restore hidden tokens, and leave a run folder for classify, pair, tag and encode.

    python train.py mlm                                     the tales
    python train.py mlm --data my.txt                       your text
    python train.py mlm --next-sentence                     with BERT's second objective
    """

    name = "mlm"
    unit = "hidden tokens"
    watched = 8  # spread over the validation text; the loss reported at the end is of all of it
    other_data = "the text is not the one that this run began with; bring it back to resume"

    @classmethod
    def complete(cls, settings: MLMSettings, given: dict) -> MLMSettings:
        check_size_flags(settings.from_, given, EncoderSize)
        check_text_flags(settings.text, given)
        return settings

    def read(self) -> None:
        if self.settings.from_ is not None:
            origin = source(self.settings.from_)
            self.tokenizer, self.encoder = self.tokenizer_of(lambda: load_tokenizer(origin)), load_encoder(origin)
            self.settings = with_size_of(self.settings, self.encoder, origin)
        self.settings = change(self.settings, context=self.settings.size.context or CONTEXT)
        self.corpus = load_corpus(self.settings.text, self.settings.machine.seed)
        if self.settings.from_ is not None:
            self.corpus.check(self.tokenizer, self.settings.from_)

    def build(self) -> None:
        settings = self.settings
        if settings.from_ is None:
            self.tokenizer = self.tokenizer_of(lambda: self.corpus.make_tokenizer(settings.text))
            self.encoder = build_encoder(settings, self.tokenizer, self.compute)
        self.model = SequenceClassifier(self.encoder, 2) if settings.next_sentence else self.encoder
        self.objective = masked_lm_and_next_sentence if settings.next_sentence else masked_lm
        self.unit = "batches" if settings.next_sentence else self.unit  # a batch has one loss, of both
        self.examples = {part: self.rows(part) for part in ("train", "valid")}
        more = (self.tokenizer.pad_id, settings.training.batch_size)
        self.batches = PaddedPieces(self.examples["train"], *more, seed=settings.machine.seed, change=self.hide)
        self.valid = PaddedPieces(self.examples["valid"], *more, change=self.hide)

    def rows(self, part: str) -> Sequence:
        """Documents, or pieces of those that are too long; with next sentences, halves that belong together or not."""
        frame, context = encoder_frame(self.tokenizer), self.settings.size.context
        documents = Documents(self.tokens_of(self.corpus, part, self.tokenizer, part), self.tokenizer)
        if self.settings.next_sentence:
            return Halves(documents, frame, context, self.settings.machine.seed)
        if context < 3:
            raise ValueError(
                f"--context {context}: two special tokens stand around each text, so it must be at least 3"
            )
        return Pieces(documents, context - 2, lambda ids: text_example(ids, frame, context), around=2)

    def hide(self, batch: dict, generator: torch.Generator) -> dict:
        """A batch with some of its tokens masked."""
        input_ids, labels = mask_tokens(batch["input_ids"], self.tokenizer, self.settings.mask, generator)
        return {**batch, "input_ids": input_ids, "labels": labels}

    def example_batch(self) -> dict:
        return next(iter(self.batches))

    def prepare(self) -> None:
        training = self.settings.training
        self.config = train_config(training, self.settings.machine, steps=training.max_steps)

    def announce(self) -> None:
        size, training = self.settings.size, self.settings.training
        print(
            f"{self.corpus.name}: {len(self.examples['train']):,} rows to learn from, "
            f"{len(self.examples['valid']):,} to measure on\n"
            f"Encoder: {size.depth} layers, {size.width} channels, {self.tokenizer.vocab_size:,} tokens, "
            f"{sum(p.numel() for p in self.model.parameters()):,} parameters\n"
            f"{training.max_steps:,} steps of {training.batch_size * training.accumulate} rows, "
            f"{self.settings.mask:.0%} of the tokens hidden, into {self.run.path}"
        )

    def fingerprint(self) -> str:
        return self.corpus.of_text()

    def report(self, history: History) -> None:
        scores = self.measured
        with picture(self.run.path / "loss.png") as ax:
            whole = scores["val_loss"] if self.samples_validation else None
            loss_curve(history, ax=ax, whole=whole)
        metrics = self.write_metrics(history, **scores, bigram_loss=None, floor=None)
        print(
            ", ".join(f"{name} {value:.4f}" for name, value in scores.items()) + f"; {metrics['seconds']:.0f} seconds\n"
            f"use it with: {program()} classify --from {self.run.path}"
        )
        say(advice(scores["val_loss"], self.tokenizer.vocab_size))

    @torch.no_grad()
    def measure(self) -> dict:
        """The loss, the share of hidden tokens that are restored; of next sentences, the share that is right."""
        model, next_sentence = self.model.eval(), self.settings.next_sentence

        def counts(batch: dict) -> list[int]:
            batch, follows = self.compute.to_device(batch), 0
            keep = batch["labels"] != IGNORE_INDEX
            with self.compute.autocast():
                guesses = self.encoder(**inputs_of(batch), keep=keep).argmax(-1)
                if next_sentence:
                    follows = int((model(**inputs_of(batch)).argmax(-1) == batch["follows"]).sum())
            return [int((guesses == batch["labels"][keep]).sum()), int(keep.sum()), follows, len(keep)]

        right, hidden, follows, texts = map(sum, zip(*self.together.each(counts, self.valid)))
        loss = mean_loss(self.encoder, masked_lm, self.valid, self.compute, self.together)
        scores = {"val_loss": loss, "restored": right / max(hidden, 1)}
        return scores | ({"next_sentence": follows / texts} if next_sentence else {})


def load_encoder(origin: RunFolder) -> Encoder:
    """The encoder of a run to go on from. Raises: ValueError for another model."""
    model = fold_adapters(load_model(origin))
    model = getattr(model, "trunk", model)
    if not isinstance(model, Encoder):
        raise ValueError(f"{origin.path} holds {model_kind(model)}: mlm goes on from a run of mlm")
    return model


def build_encoder(settings: MLMSettings, tokenizer: Tokenizer, compute: Compute) -> Encoder:
    """A new encoder. Raises: ValueError for one that does not fit into memory."""
    size = settings.size
    check_size(compute, tokenizer.vocab_size, size.context, size.depth, size.width)
    numbers = {"layers": size.depth, "width": size.width, "heads": size.heads, "dropout": size.dropout}
    config = ModelConfig(tokenizer.vocab_size, size.context, **numbers, recipe=size.recipe, segments=2)
    return Encoder(config)


class Halves(Sequence):
    """Each document cut in the middle, as a group of one example; every other one gets the second half of another."""

    def __init__(self, documents: Documents, frame: Frame, context: int, seed: int):
        self.documents, self.frame, self.context = documents, frame, context
        self.chosen = (documents.lengths > 1).nonzero().flatten()
        number = len(self.chosen)
        if number < 2:
            raise ValueError("--next-sentence needs at least two documents, to put the halves of two together")
        away = torch.randint(1, number, (number,), generator=torch.Generator().manual_seed(seed))
        index = torch.arange(number)
        self.other = torch.where(index % 2 == 1, index, (index + away) % number)
        lengths = documents.lengths[self.chosen]
        self.lengths = (lengths // 2 + (lengths - lengths // 2)[self.other] + 3).clamp(max=context)

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, index: int) -> tuple[dict]:
        ids, other = (self.documents[int(self.chosen[place])] for place in (index, self.other[index]))
        example = pair_example(ids[: len(ids) // 2], other[len(other) // 2 :], self.frame, self.context)
        return ({**example, "follows": index % 2},)
