"""What a stage begins with: the trunk of a trained run, or a new one, for a head; the tokens that frame a text for it;
a trained model that writes.
"""

from collections.abc import Sequence

import torch
from torch import nn

from minillm.checkpoint import RunFolder, load_model
from minillm.examples import Frame, decoder_frame, encoder_frame
from minillm.lstm import LSTMLM, LSTMConfig
from minillm.peft.adapter import bare
from minillm.stages.common import load_tokenizer
from minillm.tokenizer import Tokenizer
from minillm.transformer import Decoder, Encoder, ModelConfig

TRUNKS = ("encoder", "decoder", "lstm")
# What models are for that do not write
PURPOSES = {
    "SequenceClassifier": "sorts texts into classes",
    "PairClassifier": "judges pairs of texts",
    "TokenClassifier": "tags words",
    "TextEncoder": "turns texts into vectors",
    "RewardModel": "says how good an answer is",
    "Encoder": "reads both ways",
}


def kind_of(model: nn.Module) -> str:
    """For people: "an Encoder", "a RewardModel"."""
    name = type(bare(model)).__name__
    return f"{'an' if name[0] in 'AEIOU' or name == LSTMLM.__name__ else 'a'} {name}"


def load_causal(run: RunFolder, device: str | torch.device = "cpu") -> nn.Module:
    """The model of a run that reads from left to right, and so can continue a text and say how likely it is."""
    model = load_model(run.path, device)
    if hasattr(model, "trunk") or not getattr(model, "causal", True):
        raise ValueError(
            f"{run.path} holds {kind_of(model)}, which {PURPOSES[type(bare(model)).__name__]} and writes none: "
            "this needs a run of pretrain or sft"
        )
    return model


def build_trunk(settings, texts: Sequence[str]) -> tuple[Tokenizer, nn.Module]:
    """A tokenizer and a trunk: those of --from, or new ones."""
    if settings.from_ is not None:
        source = RunFolder(settings.from_)
        tokenizer, trunk = load_tokenizer(source), load_model(source.path)
        trunk = getattr(trunk, "trunk", trunk)
        if not hasattr(trunk, "hidden"):
            raise ValueError(f"{source.path}: {kind_of(trunk)} has no vectors for a head to read")
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
