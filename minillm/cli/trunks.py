"""What a stage begins with: the trunk of a trained run, or a new one, for a head; the tokens that frame a text for it;
a trained model that writes.
"""

from collections.abc import Sequence

from torch import nn

from minillm.data import Frame, decoder_frame, encoder_frame
from minillm.hub import load_model, load_tokenizer, model_kind
from minillm.models import LSTMLM, Decoder, Encoder, LSTMConfig, ModelConfig
from minillm.text import Tokenizer
from minillm.training import RunFolder

TRUNKS = ("encoder", "decoder", "lstm")


def build_trunk(settings, texts: Sequence[str]) -> tuple[Tokenizer, nn.Module]:
    """A tokenizer and a trunk: those of --from, or new ones."""
    if settings.from_ is not None:
        source = RunFolder(settings.from_)
        tokenizer, trunk = load_tokenizer(source), load_model(source.path)
        trunk = getattr(trunk, "trunk", trunk)
        if not hasattr(trunk, "hidden"):
            raise ValueError(f"{source.path}: {model_kind(trunk)} has no vectors for a head to read")
        return tokenizer, trunk
    if settings.tokenizer == "bpe":
        tokenizer = Tokenizer.train(texts, settings.vocab_size)
    elif settings.tokenizer == "characters":
        tokenizer = Tokenizer.characters(texts)
    else:
        tokenizer = Tokenizer.load(settings.tokenizer)
    if settings.trunk == "lstm":
        return tokenizer, LSTMLM(LSTMConfig(tokenizer.vocab_size, settings.depth, settings.width))
    size = {"layers": settings.depth, "width": settings.width, "heads": settings.heads}
    encoder = settings.trunk == "encoder"
    config = ModelConfig(tokenizer.vocab_size, settings.context or 256, **size, segments=2 if encoder else 0)
    return tokenizer, (Encoder if encoder else Decoder)(config)


def frame_of(trunk: nn.Module, tokenizer: Tokenizer) -> Frame:
    """What stands around a text that this trunk reads."""
    if getattr(trunk, "causal", True):
        return decoder_frame(tokenizer)
    return encoder_frame(tokenizer, segments=trunk.config.segments > 0)
