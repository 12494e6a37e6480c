"""A convolutional language model: each layer lets a position see the few before it, and layers add up.

Gated causal convolutions with residual connections (Dauphin et al. 2017, "Language modeling with gated convolutional
networks"). All positions of a layer are computed at once, as in a transformer and unlike in an LSTM; but what lies
further back than `ConvolutionLM.reach` does not exist. `causal_convolution` is the plain formula, which a test holds
equal to the layer. Left out: dilation, weight normalisation, the adaptive softmax, a cache.

Shapes: B batch, T time, C channels, V vocabulary.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class ConvolutionConfig:
    """The size of a `ConvolutionLM`."""

    vocab_size: int
    layers: int = 4
    width: int = 128  # C
    kernel: int = 4  # positions that a layer sees: its own and those before
    dropout: float = 0.0

    def __post_init__(self):
        for name in ("vocab_size", "layers", "width", "kernel"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}: it must be at least 1")


def causal_convolution(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """y_t = b + sum_k W_k x_{t - K + 1 + k}: x (B, T, C), weight (out, C, K) -> (B, T, out); 0 stands before a text.

    >>> x = torch.tensor([[[1.0], [2.0], [4.0]]])
    >>> causal_convolution(x, torch.tensor([[[10.0, 1.0]]]), torch.zeros(1))   # itself, and ten times the one before
    tensor([[[ 1.],
             [12.],
             [24.]]])
    """
    K, T = weight.size(-1), x.size(1)
    padded = F.pad(x, (0, 0, K - 1, 0))
    return bias + sum(padded[:, k : k + T] @ weight[:, :, k].T for k in range(K))


class GatedConvolution(nn.Module):
    """One layer: x + (A * x + a) sigmoid(B * x + b), causal convolutions of a normalised x (equation 1)."""

    def __init__(self, width: int, kernel: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, 2 * width, kernel)

    def forward(self, x: Tensor, real: Tensor | None) -> Tensor:
        """x (B, T, C), real (B, T, 1), 0 on padding, which then is as nothing -> (B, T, C)."""
        y = self.norm(x)
        y = y if real is None else y * real
        y = F.pad(y, (0, 0, self.convolution.kernel_size[0] - 1, 0)).transpose(1, 2)
        return x + F.glu(self.convolution(y), dim=1).transpose(1, 2)  # equation 1


class ConvolutionLM(nn.Module):
    """Embedding, gated convolutions, output layer; called like a decoder."""

    def __init__(self, config: ConvolutionConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(GatedConvolution(config.width, config.kernel) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.head.weight, std=0.02)

    @property
    def reach(self) -> int:
        """How many tokens, the last one among them, the next can depend on."""
        return 1 + self.config.layers * (self.config.kernel - 1)

    def hidden(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The vectors (B, T, C) of the last layer. Padding (mask 0) on either side changes no real position."""
        x = self.dropout(self.embedding(input_ids))
        real = None if attention_mask is None else (attention_mask != 0)[..., None].to(x.dtype)
        for block in self.blocks:
            x = block(x, real)
        return self.dropout(self.norm(x))

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, *, keep: Tensor | None = None) -> Tensor:
        """Logits (B, T, V), or (N, V) of the N positions where keep (B, T) is true."""
        x = self.hidden(input_ids, attention_mask)
        return self.head(x if keep is None else x[keep])
