"""Fine-tuning with a head: a trunk, trained or new, under a layer that answers; for classify, pair, tag and encode."""

import warnings
from dataclasses import dataclass

from torch import nn

from minillm.cli.finetune import Task, TuningSettings
from minillm.cli.flags import auto, flag, group, refuse
from minillm.cli.memory import check_size
from minillm.cli.settings import MOST_LAYERS
from minillm.hub import load_model, load_tokenizer, model_kind, source
from minillm.models import (
    LSTMLM,
    Decoder,
    Encoder,
    Head,
    LSTMConfig,
    ModelConfig,
    PooledClassifier,
    SequenceClassifier,
    TextEncoder,
)
from minillm.text import Tokenizer


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


class HeadTask(Task):
    """A task whose model is a head on a trunk."""

    pooling = ""  # of --from, where it turns texts into vectors already

    def head(self, trunk: nn.Module) -> nn.Module:
        """The head on this trunk."""
        raise NotImplementedError

    def classifier(self, kind: type[Head], trunk: nn.Module) -> Head:
        """A head of this kind. On a trunk of other people's parts it is built as theirs, so that it can be exported:
        on BERT a pooler reads the first token, and no bias stands on a model that reads from left to right.
        """
        model, outputs = self.settings.model, len(self.label_names)
        recipe, pooling = getattr(trunk.config, "recipe", "minillm"), model.pooling or self.pooling
        if recipe == "bert" and issubclass(kind, SequenceClassifier) and not pooling:
            return PooledClassifier(trunk, outputs, dropout=model.dropout)
        one_way = issubclass(kind, SequenceClassifier) and getattr(trunk, "causal", True)
        return kind(trunk, outputs, pooling, model.dropout, bias=recipe == "minillm" or not one_way)

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
            origin = source(self.settings.from_)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*has no output layer")  # nor is one needed under a head
                tokenizer, trunk = load_tokenizer(origin), load_model(origin, dtype=self.dtype)
            self.pooling = trunk.pooling if isinstance(trunk, TextEncoder) else ""
            trunk = getattr(trunk, "trunk", trunk)
            if not hasattr(trunk, "hidden"):
                raise ValueError(f"{origin.path}: {model_kind(trunk)} has no vectors for a head to read")
            return tokenizer, trunk
        tokenizer = self.tokenizer_of(lambda: self.new_tokenizer(texts))
        check_size(self.compute, tokenizer.vocab_size, context or 256, model.depth, model.width)
        if model.trunk == "lstm":
            return tokenizer, LSTMLM(LSTMConfig(tokenizer.vocab_size, model.depth, model.width))
        size = {"layers": model.depth, "width": model.width, "heads": model.heads}
        encoder = model.trunk == "encoder"
        config = ModelConfig(tokenizer.vocab_size, context or 256, **size, segments=2 if encoder else 0)
        return tokenizer, (Encoder if encoder else Decoder)(config)

    def new_tokenizer(self, texts: list[str]) -> Tokenizer:
        """The tokenizer that --tokenizer names, trained on the texts; of characters, on all that there are."""
        model = self.settings.model
        if model.tokenizer == "bpe":
            return Tokenizer.train(texts, model.vocab_size)
        if model.tokenizer == "characters":
            others = [text for record in self.parts.valid + self.parts.test for text in record.prose]
            return Tokenizer.characters(texts + others)  # a character is no secret, and chance is to stop no run
        return Tokenizer.load(model.tokenizer)
