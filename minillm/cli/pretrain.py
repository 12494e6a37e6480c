"""`train.py pretrain` and `bigram`: raw text to a decoder that generates."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from minillm import tales
from minillm.cli.advice import advice, say
from minillm.cli.flags import auto, change, flag, group, program
from minillm.cli.life import TrainingCommand, train_config
from minillm.cli.memory import check_size
from minillm.cli.methods import fold_adapters
from minillm.cli.settings import MOST_LAYERS, Machine, PreTraining, RunChoice, TextSource
from minillm.cli.size import check_size_flags, with_size_of
from minillm.data import Windows, mean_token_length, tokenize_once
from minillm.hub import load_causal, load_tokenizer, source
from minillm.inference import write
from minillm.models import LSTMLM, OWN_RECIPES, BigramLM, Decoder, LSTMConfig, ModelConfig, bigram_loss
from minillm.report import loss_curve, picture
from minillm.system import Compute, write_text
from minillm.text import Tokenizer, read_documents, split, split_stream
from minillm.training import OPTIMIZERS, History, causal_lm, causal_objective, mean_loss

MODELS = {Decoder: "decoder", LSTMLM: "lstm", BigramLM: "bigram"}  # what --model calls them


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Model. What is auto follows from --depth."""

    model: str = flag("decoder", "the kind of model", choices=tuple(MODELS.values()))
    recipe: str = flag("minillm", "the parts a decoder is made of", choices=OWN_RECIPES)
    depth: int | None = auto(
        "layers: the one dial from which size, batch, learning rates and steps follow; auto: 2 on a CPU, 6 on a GPU",
        most=MOST_LAYERS,
    )
    width: int | None = auto("channels; auto: 64 a head")
    heads: int | None = auto("attention heads; auto: one a layer")
    context: int | None = auto("tokens that the model reads at once; auto: 256")
    dropout: float = flag(0.0, "share of activations dropped in training")


@dataclass(frozen=True, kw_only=True)
class BigramSize(ModelSize):
    """Model."""

    model: str = flag("bigram", "the kind of model", choices=("bigram",))


@dataclass(frozen=True, kw_only=True)
class PretrainTraining(PreTraining):
    """Training. What is auto follows from --depth, or from --optimizer."""

    batch_size: int | None = auto("windows in one micro-batch; auto: from --depth")
    accumulate: int = flag(1, "micro-batches in one step")
    max_steps: int | None = auto("steps of training; the schedule spans them; auto: from --depth")
    optimizer: str = flag("muon", "of the matrices; muon leaves the rest to AdamW", choices=tuple(OPTIMIZERS))
    learning_rate: float | None = auto("peak rate of AdamW; auto: from --optimizer")
    matrix_learning_rate: float | None = auto("peak rate of Muon; auto: from --optimizer")
    head_learning_rate: float | None = auto("peak rate of the output layer; auto: from --optimizer")
    decay: str = flag("linear", "how the rates fall", choices=("linear", "cosine", "constant"))


@dataclass(frozen=True, kw_only=True)
class BigramTraining(PretrainTraining):
    """Training."""

    learning_rate: float = flag(0.3, "peak rate of AdamW")


@dataclass(frozen=True, kw_only=True)
class PretrainSettings:
    """What is trained."""

    from_: Path | None = flag(None, "a run to go on from, on new text, with its model and tokenizer")
    samples: int = flag(8, "texts generated into samples.txt at the end", most=10_000)
    text: TextSource = group(TextSource)
    size: ModelSize = group(ModelSize)
    training: PretrainTraining = group(PretrainTraining)
    run: RunChoice = group(RunChoice)
    machine: Machine = group(Machine)


@dataclass(frozen=True, kw_only=True)
class BigramSettings(PretrainSettings):
    """What is trained."""

    size: BigramSize = group(BigramSize)
    training: BigramTraining = group(BigramTraining)


class Pretrain(TrainingCommand):
    """Train a decoder on text, and leave a run folder that every later stage can build on.

    python train.py                                       the tales, with what fits this machine
    python train.py pretrain --data my.txt                your text, blank lines between documents
    python train.py pretrain --data book.txt --documents file --tokenizer characters
    python train.py pretrain --depth 8 --device cuda      a larger model
    python train.py pretrain --resume                     go on where a run was stopped
    """

    name = "pretrain"
    objective = staticmethod(causal_lm)
    watched = 6  # spread over the validation text; the loss reported at the end is of all of it
    other_data = "the text is not the one that this run began with; bring it back to resume"

    @classmethod
    def complete(cls, settings: PretrainSettings, given: dict) -> PretrainSettings:
        check_size_flags(settings.from_, given, ModelSize)
        return settings

    def read(self) -> None:
        if self.settings.from_ is not None:
            origin = source(self.settings.from_)
            self.tokenizer = self.tokenizer_of(lambda: load_tokenizer(origin))
            self.model = fold_adapters(load_causal(origin))
            self.settings = with_size_of(self.settings, self.model, origin)
            kind = MODELS[type(self.model)]
            if self.name == "bigram" and kind != "bigram":
                raise ValueError(f"{origin.path} holds a {kind}: bigram goes on from a run of bigram")
            self.settings = change(self.settings, model=kind)
        self.settings = follow_depth(self.settings, self.compute.device.type)
        self.corpus = load_corpus(self.settings.text, self.settings.machine.seed)
        if self.settings.from_ is not None:
            mean_token_length(self.corpus.train, self.tokenizer, self.settings.from_)

    def build(self) -> None:
        if self.settings.from_ is None:
            self.tokenizer = self.tokenizer_of(lambda: make_tokenizer(self.settings.text, self.corpus))
            self.model = build_decoder(self.settings, self.tokenizer, self.compute)
        self.objective = causal_objective(self.model)
        whole, context = self.corpus.whole, self.settings.size.context
        batch_size, seed = self.settings.training.batch_size, self.settings.machine.seed
        self.tokens, self.valid_tokens = (
            tokenize_once(getattr(self.corpus, part), self.tokenizer, self.tokens_file(part), whole)
            for part in ("train", "valid")
        )
        self.batches = Windows(self.tokens, context, batch_size, seed=seed)
        self.valid = Windows(self.valid_tokens, context, batch_size)

    def example_batch(self) -> dict:
        print("what the model says at a position is scored against the label of the next one")
        return next(iter(self.batches))

    def prepare(self) -> None:
        valid, vocab_size = self.valid_tokens, self.tokenizer.vocab_size
        floor = tales.entropy_floor(self.corpus.valid, int((valid.targets() >= 0).sum()))
        self.levels = {"bigram": bigram_loss(self.tokens, valid, vocab_size), "floor": floor}
        training = self.settings.training
        self.config = train_config(training, self.settings.machine, steps=training.max_steps)

    def announce(self) -> None:
        corpus, size, training = self.corpus, self.settings.size, self.settings.training
        width = sum(map(len, corpus.train)) / len(self.tokens)
        batch = training.batch_size * training.accumulate * size.context
        known = ", ".join(f"{name} {value:.3f}" for name, value in self.levels.items() if value is not None)
        print(
            f"{corpus.name}: {len(corpus.train):,} documents, {len(self.tokens):,} tokens of {width:.1f} characters, "
            f"and {len(corpus.valid):,} documents to measure on\n"
            f"{size.model}: {size.depth} layers, {size.width} channels, context {size.context}, "
            f"{self.tokenizer.vocab_size:,} tokens, {sum(p.numel() for p in self.model.parameters()):,} parameters\n"
            f"losses to compare with, in nats per token: {known}\n"
            f"{training.max_steps:,} steps of {batch:,} tokens, into {self.run.path}"
        )

    def fingerprint(self) -> str:
        return hashlib.sha256(self.tokens.ids.numpy().tobytes()).hexdigest()

    def more_config(self) -> dict:
        return {"documents": "file" if self.corpus.whole else "blank-line"}

    def report(self, history: History) -> None:
        val_loss = mean_loss(self.model, self.objective, self.valid, self.compute)
        texts = self.sample()
        with picture(self.run.path / "loss.png") as ax:
            loss_curve(history, self.levels, ax, val_loss if self.samples_validation else None)
        bigram, floor = self.levels["bigram"], self.levels["floor"]
        scores = {"val_loss": val_loss, "bigram_loss": bigram, "floor": floor}
        if floor is not None:
            scores["gap_closed"] = (bigram - val_loss) / (bigram - floor)
            scores["good_samples"] = sum(tales.judge(text).score == 1 for text in texts) / max(len(texts), 1)
        metrics = self.write_metrics(history, **scores)
        gap = scores.get("gap_closed", 0)
        closed = f", {gap:.1%} of the way from the bigram to the floor" if gap > 0 else ""
        print(
            f"validation loss {val_loss:.4f} nats per token{closed}; {metrics['seconds']:.0f} seconds\n"
            f"{self.run.path}/loss.png shows how it learned; one of {self.run.path}/samples.txt:\n\n"
            f"{texts[0] if texts else ''}\n\ngenerate more with: {program()} generate --from {self.run.path}"
        )
        say(advice(val_loss, self.tokenizer.vocab_size) or self.behind_bigram(val_loss))

    def behind_bigram(self, loss: float) -> str:
        """What to try where counting pairs of tokens is better than the model."""
        if loss <= self.levels["bigram"] or self.settings.size.model == "bigram":
            return ""
        bigram = f"the loss is above that of a counted bigram, {self.levels['bigram']:.3f}"
        return f"{bigram}: train for longer (--max-steps), lower the rates (--learning-rate), or bring more text"

    def sample(self) -> list[str]:
        """Texts of the trained model, also written into samples.txt."""
        generator = torch.Generator(self.compute.device).manual_seed(self.settings.machine.seed)
        prompts = ["\n" if self.corpus.whole else ""] * self.settings.samples
        texts = write(self.model, self.tokenizer, prompts, self.valid.context, generator=generator)
        write_text(self.run.path / "samples.txt", "\n\n".join(texts) + "\n")
        return texts


class Bigram(Pretrain):
    """Train a bigram by gradient, the baseline; it ends near the loss of the counted one, which is printed too.

    python train.py bigram
    python train.py bigram --data my.txt
    """

    name = "bigram"


def follow_depth(settings: PretrainSettings, device: str) -> PretrainSettings:
    """Fill in what was left to follow. Every number of the dial stands here, but for the optimizers' own rates."""
    size, training = settings.size, settings.training
    depth = size.depth or (6 if device == "cuda" else 2)
    heads = size.heads or depth
    context = size.context or 256
    steps = training.max_steps or 740
    optimizer = OPTIMIZERS[training.optimizer]
    return change(
        settings,
        depth=depth,
        heads=heads,
        width=size.width or 64 * heads,
        context=context,
        batch_size=training.batch_size or max((8192 if device == "cuda" else 2048) // context, 1),
        max_steps=steps,
        learning_rate=training.learning_rate or optimizer.learning_rate,
        matrix_learning_rate=training.matrix_learning_rate or optimizer.matrix_learning_rate,
        head_learning_rate=training.head_learning_rate or optimizer.head_learning_rate,
        eval_every=training.eval_every or max(steps // 10, 1),
    )


def build_decoder(settings: PretrainSettings, tokenizer: Tokenizer, compute: Compute) -> nn.Module:
    """A new model. Raises: ValueError for one that does not fit into memory."""
    size = settings.size
    if size.model == "bigram":
        check_size(compute, tokenizer.vocab_size, 0, 0, tokenizer.vocab_size)
        return BigramLM(tokenizer.vocab_size)
    check_size(compute, tokenizer.vocab_size, size.context, size.depth, size.width)
    if size.model == "lstm":
        return LSTMLM(LSTMConfig(tokenizer.vocab_size, size.depth, size.width, size.dropout))
    config = ModelConfig(
        vocab_size=tokenizer.vocab_size,
        context=size.context,
        layers=size.depth,
        width=size.width,
        heads=size.heads,
        recipe=size.recipe,
        dropout=size.dropout,
    )
    return Decoder(config)


# Text, for mlm too


@dataclass
class Corpus:
    """Text on both sides of the split, and what is known of it."""

    train: list[str]
    valid: list[str]
    whole: bool  # one long text, cut anywhere
    name: str


def load_corpus(source: TextSource, seed: int) -> Corpus:
    """Read the user's text, or the tales. Raises: ValueError for anything that is no text."""
    if source.data is None:
        if source.valid is not None:
            raise ValueError("--valid needs --data: the tales have a validation text of their own")
        train, valid = (tales.load_documents(f"tales_{part}.txt") for part in ("train", "valid"))
        return Corpus(train, valid, False, "tales")
    whole = source.documents == "file"
    name = str(source.data)
    if source.valid is not None:
        train, valid = (read_documents(path, source.documents) for path in (source.data, source.valid))
        return Corpus(train, valid, whole, name)
    if whole:
        (text,) = read_documents(source.data, "file")
        first, last = split_stream(text, source.valid_fraction)
        return Corpus([first], [last], True, name)
    documents = read_documents(source.data)
    if len(documents) < 2:
        raise ValueError(
            f"{source.data}: holds one document, and measuring needs a second: separate documents by blank lines, "
            "give --valid, or use --documents file, which keeps the end of the text aside"
        )
    train, valid = split(documents, source.valid_fraction, seed)
    return Corpus(train, valid, False, name)


def make_tokenizer(source: TextSource, corpus: Corpus) -> Tokenizer:
    """The tokenizer that --tokenizer names, trained on the training text. (Characters are taken from all of it.)"""
    if source.tokenizer == "bpe":
        return Tokenizer.train(corpus.train, source.vocab_size)
    if source.tokenizer == "characters":
        return Tokenizer.characters(corpus.train + corpus.valid)
    if Path(source.tokenizer).suffix == ".json":
        return Tokenizer.load(source.tokenizer)
    return Tokenizer.from_tiktoken(source.tokenizer)
