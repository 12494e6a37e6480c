"""`train.py pretrain` and `bigram`: raw text to a decoder that generates."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from minillm import models, tales
from minillm.cli.advice import advice, say
from minillm.cli.corpus import check_text_flags, load_corpus
from minillm.cli.depth import follow_depth
from minillm.cli.flags import auto, change, flag, group, program
from minillm.cli.life import TrainingCommand, train_config
from minillm.cli.methods import fold_adapters
from minillm.cli.plan import check_fits, on_paper, plan
from minillm.cli.settings import MOST_LAYERS, Machine, PreTraining, RunChoice, TextSource
from minillm.cli.size import check_size_flags, with_size_of
from minillm.data import Windows
from minillm.hub import load_causal, load_tokenizer, source
from minillm.inference import write
from minillm.models import LSTMLM, OWN_RECIPES, BigramLM, Decoder, LSTMConfig, ModelConfig, bigram_loss
from minillm.report import loss_curve, picture
from minillm.system import write_text
from minillm.training import OPTIMIZERS, History, causal_lm, causal_objective, mean_loss

MODELS = {Decoder: "decoder", LSTMLM: "lstm", BigramLM: "bigram"}  # what --model calls them
MODELS[models.ConvolutionLM] = "convolution"


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Model. What is auto follows from --depth."""

    model: str = flag("decoder", "the kind of model", choices=tuple(MODELS.values()))
    recipe: str = flag("minillm", "the parts a decoder is made of", choices=OWN_RECIPES)
    depth: int | None = auto(
        "layers: the one dial from which size, batch, rates and steps follow; auto: 2 on a CPU, 6 on a GPU",
        most=MOST_LAYERS,
    )
    width: int | None = auto("channels; auto: 64 a head")
    heads: int | None = auto("attention heads; auto: one a layer")
    context: int | None = auto("tokens that the model reads at once; auto: 256, 512 from 6 layers on, 1,024 from 12")
    dropout: float = flag(0.0, "share of activations dropped in training")


@dataclass(frozen=True, kw_only=True)
class BigramSize(ModelSize):
    """Model."""

    model: str = flag("bigram", "the kind of model", choices=("bigram",))


@dataclass(frozen=True, kw_only=True)
class PretrainTraining(PreTraining):
    """Training. What is auto follows from --depth, or from --optimizer."""

    batch_size: int | None = auto("windows in one micro-batch; auto: from --depth")
    accumulate: int | None = auto("micro-batches in one step; auto: as many as memory asks for, 1 with --batch-size")
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
    plan: bool = flag(False, "say what the run would take, parameters, tokens, memory and time, and stop")
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
    python train.py pretrain --depth 8 --plan             what a larger model would take, and nothing else
    python train.py pretrain --resume                     go on where a run was stopped
    """

    name = "pretrain"
    objective = staticmethod(causal_lm)
    watched = 6  # spread over the validation text; the loss reported at the end is of all of it
    other_data = "the text is not the one that this run began with; bring it back to resume"

    @classmethod
    def complete(cls, settings: PretrainSettings, given: dict) -> PretrainSettings:
        check_size_flags(settings.from_, given, ModelSize)
        check_text_flags(settings.text, given)
        return change(settings, show=True) if settings.plan else settings  # neither writes anything

    def live(self) -> int:
        if not self.settings.plan:
            return super().live()
        self.read()
        self.learn_size()
        print(self.sizes(), self.plan.say(self.compute), sep="\n")
        return 0

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
        self.asked, self.settings = self.settings, follow_depth(self.settings, self.compute.device.type)
        self.corpus = load_corpus(self.settings.text, self.settings.machine.seed)
        if self.settings.from_ is not None:
            self.corpus.check(self.tokenizer, self.settings.from_)

    def build(self) -> None:
        self.learn_size()
        if self.settings.from_ is None:
            self.model = new_model(self.settings, self.tokenizer.vocab_size)
        self.objective = causal_objective(self.model)
        context, batch_size = self.settings.size.context, self.settings.training.batch_size
        with self.corpus.named("to learn from"):
            self.batches = Windows(self.tokens, context, batch_size, seed=self.settings.machine.seed)
        with self.corpus.named("to validate on"):
            self.valid = Windows(self.valid_tokens, context, batch_size)

    def learn_size(self) -> None:
        """Tokens and tokenizer, and what follows from them: whether the model fits, and how the run is trained."""
        if self.settings.from_ is None:
            self.tokenizer = self.tokenizer_of(lambda: self.corpus.make_tokenizer(self.settings.text))
            vocab_size = self.tokenizer.vocab_size
            check_fits(self.settings, self.asked, new_model, vocab_size, self.compute)
            model = on_paper(new_model, self.settings, vocab_size)
        else:
            model = self.model
        self.tokens, self.valid_tokens = (
            self.tokens_of(self.corpus, part, self.tokenizer, part) for part in ("train", "valid")
        )
        self.plan = plan(self.settings, model, len(self.tokens), self.compute)
        self.settings = self.plan.settings

    def example_batch(self) -> dict:
        print("what the model says at a position is scored against the label of the next one")
        return next(iter(self.batches))

    def prepare(self) -> None:
        valid, vocab_size = self.valid_tokens, self.tokenizer.vocab_size
        bigram = bigram_loss(self.tokens, valid, vocab_size, self.corpus.counted)
        self.levels = {"bigram": bigram, "floor": self.corpus.floor(valid)}
        training = self.settings.training
        self.config = train_config(training, self.settings.machine, steps=training.max_steps)

    def sizes(self) -> str:
        """The text and the model, in two lines."""
        corpus, size, documents = self.corpus, self.settings.size, self.corpus.documents
        width = corpus.characters() / len(self.tokens)
        return (
            f"{corpus.name}: {documents('train'):,} documents, {len(self.tokens):,} tokens of {width:.1f} characters, "
            f"and {documents('valid'):,} documents to measure on\n"
            f"{size.model}: {size.depth} layers, {size.width} channels, context {size.context}, "
            f"{self.tokenizer.vocab_size:,} tokens, {sum(p.numel() for p in self.plan.model.parameters()):,} parameters"
        )

    def announce(self) -> None:
        known = ", ".join(f"{name} {value:.3f}" for name, value in self.levels.items() if value is not None)
        print(
            f"{self.sizes()}\n{self.plan.say(self.compute)}\n"
            f"losses to compare with, in nats per token: {known}\n"
            f"{self.settings.training.max_steps:,} steps of {self.plan.batch:,} tokens, into {self.run.path}"
        )

    def fingerprint(self) -> str:
        return self.corpus.of_tokens(self.tokens)

    def more_config(self) -> dict:
        return {"documents": "file" if self.corpus.whole else "blank-line"}

    def measure(self) -> float:
        """The loss on all of the validation text."""
        return mean_loss(self.model, self.objective, self.valid, self.compute, self.together)

    def report(self, history: History) -> None:
        val_loss = self.measured
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


def new_model(settings: PretrainSettings, vocab_size: int) -> nn.Module:
    """The model that the settings describe."""
    size = settings.size
    if size.model == "bigram":
        return BigramLM(vocab_size)
    if size.model == "lstm":
        return LSTMLM(LSTMConfig(vocab_size, size.depth, size.width, size.dropout))
    if size.model == "convolution":
        sizes = models.ConvolutionConfig(vocab_size, size.depth, size.width, dropout=size.dropout)
        return models.ConvolutionLM(sizes)
    config = ModelConfig(
        vocab_size=vocab_size,
        context=size.context,
        layers=size.depth,
        width=size.width,
        heads=size.heads,
        recipe=size.recipe,
        dropout=size.dropout,
    )
    return Decoder(config)
