"""A recurrent language model, with a state that is passed from token to token: between the bigram and the transformer.

Long short-term memory (Hochreiter & Schmidhuber 1997), with the forget gate of Gers et al. 2000. `lstm_step` is one
step in plain maths; `LSTMLM` runs torch's fused layers; a test asserts that they agree. ULMFiT (Howard & Ruder 2018)
showed that such a model, pre-trained, can be fine-tuned. Left out: its AWD regularisation.

Shapes: B batch, T time, C channels, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


def lstm_step(x: Tensor, state: tuple[Tensor, Tensor], layer: nn.LSTM, index: int = 0) -> tuple[Tensor, Tensor]:
    """One token through one layer: x (B, C) and the state (h, c), each (B, C) -> the new (h, c).

    i, f, o = sigmoid(W x + U h + b);  g = tanh(W x + U h + b);  c' = f c + i g;  h' = o tanh(c').
    """
    h, c = state
    w, u = getattr(layer, f"weight_ih_l{index}"), getattr(layer, f"weight_hh_l{index}")
    bias = getattr(layer, f"bias_ih_l{index}") + getattr(layer, f"bias_hh_l{index}")
    i, f, g, o = (x @ w.T + h @ u.T + bias).chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()  # the forget gate on the old state, the input gate on the new
    return o.sigmoid() * c.tanh(), c


@dataclass(frozen=True)
class LSTMConfig:
    """The size of an `LSTMLM`."""

    vocab_size: int
    layers: int = 2
    width: int = 256  # C
    dropout: float = 0.0


class LSTMLM(nn.Module):
    """Embedding, LSTM layers, output layer; called like a decoder."""

    def __init__(self, config: LSTMConfig):
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        between = config.dropout if config.layers > 1 else 0.0
        self.lstm = nn.LSTM(config.width, config.width, config.layers, batch_first=True, dropout=between)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.head.weight, std=0.02)

    def hidden(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """The vectors (B, T, C) of the last layer. Padding (mask 0) leaves the state as it is; its vectors are 0."""
        x = self.dropout(self.embedding(input_ids))
        if attention_mask is None:
            return self.dropout(self.lstm(x)[0])
        # Move real tokens to the front, before all padding, and back afterwards. (torch's packed sequences would skip
        # the padding, too, and take two to three times as long on a CPU.)
        real = attention_mask.bool()
        order = (~real).to(torch.int8).argsort(dim=1, stable=True)[..., None].expand_as(x)  # (B, T, C)
        y = self.lstm(x.gather(1, order))[0]
        y = torch.zeros_like(y).scatter(1, order, y)
        return self.dropout(y * real[..., None])

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, *, keep: Tensor | None = None) -> Tensor:
        """Logits (B, T, V), or (N, V) of the N positions where keep (B, T) is true."""
        x = self.hidden(input_ids, attention_mask)
        return self.head(x if keep is None else x[keep])
