"""Soft prompts: learned vectors in front of a text, which are no words (Lester et al. 2021, "The Power of Scale").

The model is wrapped whole, and nobody outside sees the prompt: texts, masks, labels and outputs are as long as ever.
Inside, the vectors stand right before the first real token of each text, on whichever side its padding is, and take
their places in the model's context. A `KVCache` reads them once.

P-tuning (Liu et al. 2021, "GPT Understands, Too") has the vectors come out of a small network, through which they learn
together; `simplify` throws it away when they have. Left out: prompts in the middle of a text.

Shapes: B batch, T time, P vectors of the prompt, C channels.
"""

import dataclasses
import inspect
from dataclasses import dataclass
from itertools import cycle, islice
from typing import ClassVar

import torch
from torch import Tensor, nn

from minillm.peft.adapter import Adapter, Method, Slot, adapters, bare, slots

PROMPT_STARTS = ("vocabulary", "random")


@dataclass(frozen=True, kw_only=True)
class SoftPrompt(Method):
    """Settings of prompt tuning."""

    length: int = 16  # P
    start: str = "vocabulary"  # random tokens' own vectors; or "random": numbers of the same size
    tokens: tuple[int, ...] = ()  # begin as this text instead, repeated or cut to the length
    key: ClassVar[str] = "prompt"
    learning_rate: ClassVar[float] = 0.2
    supports_strength: ClassVar[bool] = False

    def __post_init__(self):
        if self.length < 0:
            raise ValueError(f"the length of the prompt is {self.length}: it must be at least 0")
        if self.start not in PROMPT_STARTS:
            raise ValueError(f"unknown start {self.start!r}: choose one of {', '.join(PROMPT_STARTS)}")

    @staticmethod
    def fits(module: nn.Module) -> bool:
        """Whether it reads vectors in the place of tokens: a trunk, such as a Decoder or an Encoder."""
        hidden = getattr(module, "hidden", None)
        return hidden is not None and "inputs_embeds" in inspect.signature(hidden).parameters

    def chosen(self, model: nn.Module) -> list[Slot]:
        found = next((slot for slot in slots(model) if self.fits(slot.bare)), None)
        if found is None:
            kind = type(bare(model)).__name__
            raise ValueError(f"this {kind} reads no vectors in place of tokens: it cannot have a {self.key}")
        context = found.bare.config.context
        if self.length >= context:
            raise ValueError(f"a prompt of {self.length} vectors leaves no room in a context of {context}")
        return [found]

    def encoder(self, width: int) -> nn.Module:
        """What the vectors come out of."""
        return nn.Identity()

    def wrap(self, slot: Slot, name: str, generator: torch.Generator | None) -> Adapter:
        return Prompted(slot.module, self, name, generator)


@dataclass(frozen=True, kw_only=True)
class PTuning(SoftPrompt):
    """Settings of P-tuning."""

    network: str = "mlp"  # or "lstm"
    inner: int = 0  # its width; 0: the model's
    key: ClassVar[str] = "ptuning"
    learning_rate: ClassVar[float] = 5e-3

    def __post_init__(self):
        super().__post_init__()
        if self.network not in NETWORKS:
            raise ValueError(f"unknown network {self.network!r}: choose one of {', '.join(NETWORKS)}")
        if self.inner < 0:
            raise ValueError(f"inner is {self.inner}: it must be at least 0, which is the model's width")

    def encoder(self, width: int) -> nn.Module:
        return NETWORKS[self.network](width, self.inner or width)


class MLPEncoder(nn.Sequential):
    """Three linear layers, each vector by itself: (P, C) -> (P, C)."""

    def __init__(self, width: int, inner: int):
        super().__init__(
            nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, inner), nn.ReLU(), nn.Linear(inner, width)
        )


class LSTMEncoder(nn.Module):
    """A bidirectional LSTM of two layers and an MLP: each vector knows its neighbours (Liu et al. 2021, equation 4)."""

    def __init__(self, width: int, inner: int):
        super().__init__()
        self.lstm = nn.LSTM(width, inner, num_layers=2, bidirectional=True, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(2 * inner, 2 * inner), nn.ReLU(), nn.Linear(2 * inner, width))

    def forward(self, x: Tensor) -> Tensor:
        """x (P, C) -> (P, C)."""
        return self.mlp(self.lstm(x[None])[0])[0] if len(x) else x  # torch has no LSTM over nothing


NETWORKS = {"mlp": MLPEncoder, "lstm": LSTMEncoder}


class Prompted(Adapter):
    """A trunk with a prompt of P vectors before every text; called as the trunk is."""

    looked = False  # whether a batch was seen to have one text a row

    def __init__(self, base: nn.Module, method: SoftPrompt, name="default", generator: torch.Generator | None = None):
        super().__init__(base, method, name)
        words = bare(base).embedding.weight.detach()
        if method.tokens:
            vectors = words[list(islice(cycle(method.tokens), method.length))]
        elif method.start == "vocabulary":
            vectors = words[torch.randint(len(words), (method.length,), generator=generator).to(words.device)]
        else:
            vectors = torch.randn(method.length, words.size(1), generator=generator) * words.std().cpu()
        self.table = nn.Parameter(vectors.clone())
        self.encoder = method.encoder(words.size(1))
        for parameter in self.encoder.parameters():
            if parameter.dim() > 1:
                nn.init.kaiming_normal_(parameter, nonlinearity="relu", generator=generator)  # keeps vectors apart
            else:
                nn.init.zeros_(parameter)

    def vectors(self) -> Tensor:
        """The prompt, (P, C)."""
        return self.encoder(self.table)

    def simplify(self) -> None:
        """Keep what the network says and throw the network away."""
        self.table = nn.Parameter(self.vectors().detach(), self.table.requires_grad)
        self.encoder, settings = nn.Identity(), dataclasses.fields(SoftPrompt)
        self.method = SoftPrompt(**{field.name: getattr(self.method, field.name) for field in settings})

    @property
    def config(self):
        """The trunk's, with as much less context as the prompt takes."""
        config = self.base.config
        return dataclasses.replace(config, context=config.context - len(self.table)) if self.active else config

    def new_cache(self, batch: int, capacity: int, dtype: torch.dtype | None = None):
        """An empty cache with room for the prompt as well; it counts the text alone."""
        P = len(self.table) if self.active else 0
        return PromptCache(self.base.new_cache(batch, capacity + P, dtype), P)

    def hidden(self, input_ids=None, attention_mask=None, *, inputs_embeds=None, segment_ids=None, cache=None):
        """The hidden states (B, T, C) of the text, from what `Transformer.hidden` takes; the prompt's own are left out.

        Raises: ValueError past the context that the prompt leaves, and for several texts in a row.
        """
        x = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        inner = None if cache is None else cache.inner
        if not self.active:
            return self.base.hidden(None, attention_mask, inputs_embeds=x, segment_ids=segment_ids, cache=inner)
        past = 0 if cache is None else cache.length
        if past + x.size(1) > self.config.context:
            raise ValueError(
                f"a text of {past + x.size(1)} tokens does not fit into the model's context: "
                f"beside the prompt's {len(self.table)} vectors there is room for {self.config.context}"
            )
        first = first_real(attention_mask)
        if attention_mask is not None:
            self.refuse_packed(attention_mask)
            attention_mask = insert(attention_mask, attention_mask.new_ones(len(self.table)), first)
        if past:
            return self.base.hidden(None, attention_mask, inputs_embeds=x, segment_ids=segment_ids, cache=inner)
        x = insert(x, self.vectors().to(x.dtype), first)
        if segment_ids is not None:
            segment_ids = insert(segment_ids, segment_ids.new_zeros(len(self.table)), first)
        x = self.base.hidden(None, attention_mask, inputs_embeds=x, segment_ids=segment_ids, cache=inner)
        return cut(x, len(self.table), first)

    def refuse_packed(self, attention_mask: Tensor) -> None:
        """Raises: ValueError for several texts in a row. On a device the first batch alone is looked at: it waits."""
        if torch.compiler.is_compiling() or (attention_mask.device.type != "cpu" and self.looked):
            return
        self.looked = True
        if bool((attention_mask > 1).any()):
            raise ValueError("a row holds several texts, and a prompt stands before one: do not pack them")

    def forward(self, input_ids=None, attention_mask=None, *, keep: Tensor | None = None, **inputs) -> Tensor:
        """Logits (B, T, V), or (N, V) of the positions in keep (B, T), as of the trunk."""
        x = self.hidden(input_ids, attention_mask, **inputs)
        return self.head(x if keep is None else x[keep])


class PromptCache:
    """A cache that holds P vectors of a prompt before the text, and does not count them."""

    def __init__(self, inner, P: int):
        self.inner, self.P = inner, P

    @property
    def length(self) -> int:
        """Tokens of the text that have been read."""
        return max(self.inner.length - self.P, 0)

    def grow(self, positions: int) -> None:
        self.inner.grow(positions)

    def select(self, rows: Tensor, shared: int = 0) -> None:
        self.inner.select(rows, shared + self.P if shared else 0)

    def drop(self, positions: int) -> None:
        self.inner.drop(positions)

    def put(self, rows: list[int], other: "PromptCache") -> None:
        self.inner.put(rows, other.inner)


def first_real(attention_mask: Tensor | None) -> Tensor | None:
    """Where the first real token of each row stands, (B,); None without a mask: at the front."""
    return None if attention_mask is None else (attention_mask != 0).to(torch.int8).argmax(dim=1)


def insert(rows: Tensor, new: Tensor, first: Tensor | None) -> Tensor:
    """Put new (P, ...) into each of rows (B, T, ...) before place first (B,), at the front for None: (B, P + T, ...).

    >>> insert(torch.tensor([[0, 1, 2]]), torch.tensor([7, 8]), torch.tensor([1]))
    tensor([[0, 7, 8, 1, 2]])
    """
    new = new.expand(len(rows), *new.shape)
    if first is None:
        return torch.cat((new, rows), dim=1)
    behind = torch.arange(rows.size(1), device=rows.device) >= first[:, None]  # (B, T)
    rank = torch.cat((2 * behind, behind.new_ones(new.shape[:2])), dim=1)  # 0 before the new, 1 of them, 2 behind
    return _take(torch.cat((rows, new), dim=1), rank.argsort(dim=1, stable=True))


def cut(rows: Tensor, P: int, first: Tensor | None) -> Tensor:
    """Undo `insert`: rows (B, P + T, ...) -> (B, T, ...)."""
    if first is None:
        return rows[:, P:]
    place = torch.arange(rows.size(1) - P, device=rows.device)[None]
    return _take(rows, torch.where(place < first[:, None], place, place + P))


def _take(rows: Tensor, order: Tensor) -> Tensor:
    """The elements of each row at the places in order (B, N)."""
    return rows[torch.arange(len(rows), device=rows.device)[:, None], order]


def simplify(model: nn.Module) -> nn.Module:
    """Throw away the networks through which prompts and prefixes have learned, and keep what comes out of them.

    The model does the same as before, and can still learn; returns it.
    """
    for _, adapter in adapters(model):
        if hasattr(type(adapter), "simplify"):
            adapter.simplify()
    return model
