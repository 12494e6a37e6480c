"""What only other people's families of transformers need to have said: the field `details` of a `ModelConfig`.

Every default means "as in our own recipes", and config.json of a run holds only what differs (`stated`).
"""

import math
from dataclasses import asdict, dataclass, fields

import torch
from torch import Tensor

from minillm.models.attention import rotary_tables

LAYERS = {"g": "sees all positions", "l": "sees those within the window", "n": "sees all, without rotary positions"}


@dataclass(frozen=True)
class Details:
    """The further settings of a model; 0 stands for none."""

    tied: bool = False  # the output layer is the embedding table, whatever the recipe says
    head_dim: int = 0  # channels of a head; 0: the width over the heads
    pattern: str = "g"  # the kinds of layers (`LAYERS`) from the first, over and over
    window: int = 0  # positions that a query of an "l" layer sees, its own and those before
    local_theta: float = 0.0  # base of the rotary frequencies of "l" layers; 0: that of the others
    rotary_share: float = 1.0  # of the channels of a head, how many are rotated
    rope_factor: float = 1.0  # positions are divided by it
    rope_low: float = 0.0  # Llama 3: so only where a pair turns less often than this in rope_original positions,
    rope_high: float = 0.0  # not where it turns more often than this, and in between by degrees
    rope_original: int = 0
    query_scale: int = 0  # scores are divided by its square root; 0: head_dim
    score_cap: float = 0.0  # attention scores are squeezed between this and its negative
    logit_cap: float = 0.0  # and so are the logits

    def __post_init__(self):
        if not self.pattern or set(self.pattern) - set(LAYERS):
            raise ValueError(f"pattern is {self.pattern!r}: it must be made of the letters {', '.join(LAYERS)}")
        if "l" in self.pattern and self.window < 1:
            raise ValueError(f"window is {self.window}: a model with layers that see a window needs one of at least 1")
        if not (0 < self.rotary_share <= 1 and self.rope_factor > 0):
            raise ValueError("rotary_share must lie in (0, 1], and rope_factor above 0")
        if self.rope_original and not 0 <= self.rope_low < self.rope_high:
            raise ValueError(f"rope_low {self.rope_low} must lie below rope_high {self.rope_high}")
        for name in ("head_dim", "window", "local_theta", "query_scale", "score_cap", "logit_cap"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 0")

    @staticmethod
    def of(settings: "Details | dict") -> "Details":
        """The details that config.json holds as a dictionary."""
        return settings if isinstance(settings, Details) else Details(**settings)

    def differing(self) -> dict:
        """The fields that are not as in our own recipes."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    @property
    def beyond_llama(self) -> list[str]:
        """Those of the fields that ask for other parts than Llama has."""
        return sorted(set(self.differing()) - {"tied", "head_dim"} - {f.name for f in fields(self) if "rope" in f.name})

    def kind(self, layer: int) -> str:
        """The letter of a layer."""
        return self.pattern[layer % len(self.pattern)]

    def rotated(self, head_dim: int) -> int:
        """How many channels of a head are rotated: the first so many."""
        return int(head_dim * self.rotary_share)

    def rotary_tables(self, context: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
        """As of `attention.rotary_tables`; with a base for "l" layers, whose columns follow those of the others."""
        tables = rotary_tables(context, self.rotated(head_dim), theta, self._slow)
        if not self.local_theta:
            return tables
        local = rotary_tables(context, self.rotated(head_dim), self.local_theta)
        return torch.cat((tables[0], local[0]), -1), torch.cat((tables[1], local[1]), -1)

    def _slow(self, frequency: Tensor) -> Tensor:
        """Frequencies for a longer context than that of training (Llama 3: Dubey et al. 2024, section 3.4.2)."""
        if not self.rope_original:
            return frequency if self.rope_factor == 1 else frequency / self.rope_factor
        turns = self.rope_original * frequency / (2 * math.pi)
        keep = ((turns - self.rope_low) / (self.rope_high - self.rope_low)).clamp(0, 1)
        return frequency * (keep + (1 - keep) / self.rope_factor)


def stated(config) -> dict:
    """What config.json holds of a model's config, which need not have details; of those, what differs."""
    settings = asdict(config)
    if "details" in settings:
        del settings["details"]
        settings |= {"details": config.details.differing()} if config.details.differing() else {}
    return settings
