"""How a trained model is tuned: the settings that every stage of fine-tuning shares, and what they do to a model."""

from dataclasses import dataclass

from torch import nn

from minillm.cli import flag
from minillm.peft import train_all, train_head, train_last

METHODS = ("full", "head", "last")


@dataclass(frozen=True, kw_only=True)
class Method:
    """What of a model learns, and how fast."""

    method: str = flag(
        "full", "what learns: everything, the output layer alone, or the last layers with it", choices=METHODS
    )
    last: int = flag(0, "layers that learn, with --method last (0: one)")
    layer_decay: float = flag(1.0, "a layer's rates over those of the layer above; 1: one rate in all layers")
    unfreeze: bool = flag(False, "let the layers begin to learn one after another, from the output down")


def apply_method(model: nn.Module, settings: Method) -> str:
    """Freeze what is not to learn; returns a phrase that says what is left, for people.

    `layer_decay` and `unfreeze` go to the optimizer: `TrainConfig` has settings of the same names. Raises ValueError
    when the model lacks what the method trains.
    """
    if settings.last and settings.method != "last":
        raise ValueError(f"--last {settings.last} goes with --method last, not with {settings.method}")
    if settings.method == "head":
        learns = train_head(model)
    elif settings.method == "last":
        learns = train_last(model, settings.last or 1)
    else:
        learns = train_all(model)
    return f"{learns:,} of {sum(p.numel() for p in model.parameters()):,} parameters learn"
