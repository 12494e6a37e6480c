"""Speculative decoding: a small model drafts some tokens, and the large one reads them all at once and keeps what fits.

What comes out is distributed exactly as if the large model had written alone, whatever the draft is (Leviathan et al.
2023, "Fast inference from transformers via speculative decoding"; Chen et al. 2023). A drafted token x is accepted with
probability min(1, p(x) / q(x)), for p of the large model and q of the draft; after the first refusal the token is drawn
from what is left, max(p - q, 0), normalised. Greedy, a draft is accepted where both have the same likeliest token. The
draft may be anything that gives logits over the same tokens, as a bigram.

Left out: batches, whose texts would be accepted to different lengths; trees of drafts; texts past the context.

Shapes: K drafted tokens, T time, V vocabulary.
"""

import inspect
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.inference.few_rows import few_rows
from minillm.inference.generation import Stops, ends_with
from minillm.inference.sampling import COLDEST, check_sampling, filter_logits
from minillm.models import TokenShift, evaluating


@dataclass
class Speculation:
    """What happened: tokens drafted, those of them accepted, and how often the large model read."""

    drafted: int = 0
    accepted: int = 0
    reads: int = 0
    tokens: int = 0

    @property
    def acceptance(self) -> float:
        """The share of drafted tokens that were accepted."""
        return self.accepted / max(self.drafted, 1)


def residual_distribution(p: Tensor, q: Tensor) -> Tensor:
    """max(p - q, 0), normalised: what is left of p (V,) where a token of q (V,) was refused; p where they are equal.

    Source: Leviathan et al. 2023, section 2.3.
    >>> residual_distribution(torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1]))
    tensor([0., 1.])
    """
    rest = (p - q).clamp(min=0)
    total = rest.sum(-1, keepdim=True)
    return torch.where(total > 0, rest / total.clamp(min=torch.finfo(rest.dtype).tiny), p)


def accept(p: Tensor, q: Tensor, drafted: Tensor, generator: torch.Generator | None = None) -> tuple[int, Tensor]:
    """How many of the drafted tokens (K,) are accepted, and the distribution (V,) of the token after them.

    Args: p: (K + 1, V), the large model's distributions where each was drafted, and after all; q: (K, V), the draft's.
    """
    K, place = len(drafted), torch.arange(len(drafted), device=drafted.device)
    chance = p[place, drafted] / q[place, drafted]  # q is not 0: the token was drawn from it
    refused = torch.rand(K, generator=generator, device=p.device) >= chance
    n = int(refused.int().argmax()) if bool(refused.any()) else K
    return n, p[K] if n == K else residual_distribution(p[n], q[n])


class Reader:
    """A model's next-token distributions of one text that grows, and is taken back where a draft was refused."""

    def __init__(self, model: nn.Module, capacity: int, sampling: tuple, device: torch.device | str = "cpu"):
        self.model, self.sampling, self.device, self.ids = model, sampling, device, []
        self.keeps = "keep" in inspect.signature(model.forward).parameters
        self.cache = model.new_cache(1, capacity) if hasattr(model, "new_cache") else None
        self.before_shift: dict[int, Tensor] = {}  # of the last positions, what token shift needs to go on from there
        self.shift = next((m for m in model.modules() if isinstance(m, TokenShift)), None)

    def read(self, ids: list[int], count: int) -> Tensor:
        """The distributions (count, V) after the last `count` tokens of a text, which begins as the last one did."""
        start = 0 if self.cache is None else min(self._kept(ids), len(ids) - count)
        new = torch.tensor([ids[start:]], device=self.device)
        if self.cache is None:
            last = {"keep": (slice(None), slice(-count, None))} if self.keeps else {}
            logits = self.model(new, **last)[0, -count:]
        else:
            self._rewind(start)
            hook = self.shift.register_forward_pre_hook(self._remember) if self.shift is not None else None
            try:
                logits = self.model(new, cache=self.cache, keep=(slice(None), slice(-count, None)))[0]
            finally:
                if hook is not None:
                    hook.remove()
        self.ids = list(ids)
        return distribution(logits, *self.sampling)

    def _kept(self, ids: list[int]) -> int:
        """How many tokens the cache has read that the text begins with."""
        read = self.ids[: self.cache.length]
        return next((n for n, (a, b) in enumerate(zip(read, ids)) if a != b), min(len(read), len(ids)))

    def _rewind(self, length: int) -> None:
        self.cache.length = length
        self.cache.last = self.before_shift.get(length - 1)

    def _remember(self, module, inputs) -> None:
        x = inputs[0]
        self.before_shift |= {self.cache.length + t: x[:, t : t + 1] for t in range(x.size(1))}


def distribution(logits: Tensor, temperature: float, top_k: int, top_p: float, min_p: float) -> Tensor:
    """The distribution (..., V) that `generate` draws from; all on the likeliest token at temperature 0."""
    if temperature < COLDEST:
        return F.one_hot(logits.argmax(-1), logits.size(-1)).float()
    return filter_logits(logits, temperature, top_k, top_p, min_p).softmax(-1)


@torch.no_grad()
def generate_speculatively(
    model: nn.Module, draft: nn.Module, input_ids: Tensor, max_new_tokens: int, temperature: float = 1.0,
    top_k: int = 0, top_p: float = 1.0, stop: Stops = (), generator: torch.Generator | None = None, *, ahead: int = 4,
    min_p: float = 0.0,
) -> tuple[Tensor, Speculation]:  # fmt: skip
    """Continue one prompt (1, T) as `generate` does, with `ahead` tokens drafted at a time.

    Args: draft: a model with the same vocabulary; the other arguments as of `generate`.
    Returns: (1, T + new), and what happened.
    Raises: ValueError for a batch, a text that would not fit into a model's context, and as `check_sampling`.
    """
    check_sampling(max_new_tokens, temperature, top_k, top_p, min_p)
    if input_ids.dim() != 2 or len(input_ids) != 1 or not input_ids.size(1):
        raise ValueError(f"input_ids are {list(input_ids.shape)}: speculative decoding takes one prompt, (1, T)")
    if ahead < 1:
        raise ValueError(f"ahead is {ahead}: at least 1 token must be drafted at a time")
    T, ids, told = input_ids.size(1), input_ids[0].tolist(), Speculation()
    longest = T + max_new_tokens
    for one in (model, draft):
        context = getattr(one.config, "context", longest) if hasattr(one, "config") else longest
        if longest > context:
            raise ValueError(f"{longest} tokens do not fit into a model's context of {context}: ask for fewer")
    stops = [torch.tensor([s] if isinstance(s, int) else list(s)) for s in stop]
    sampling = (temperature, top_k, top_p, min_p)
    large, small = (Reader(one, longest, sampling, input_ids.device) for one in (model, draft))
    with evaluating(model), evaluating(draft), few_rows(model, ahead + 1), few_rows(draft, 1):
        while len(ids) < longest:
            new = _round(large, small, ids, min(ahead, longest - len(ids) - 1), generator, told)
            for token in new:
                ids.append(token)
                if stops and bool(ends_with(torch.tensor([ids[T:]]), stops)[0]):
                    longest = len(ids)
                    break
    told.tokens = len(ids) - T
    return torch.tensor([ids], device=input_ids.device), told


def _round(large: Reader, small: Reader, ids: list[int], K: int, generator, told: Speculation) -> list[int]:
    """The next tokens of a text: those of K drafted that are accepted, and one more."""
    text, q = list(ids), []
    for _ in range(K):
        q.append(small.read(text, 1)[0])
        text.append(int(torch.multinomial(q[-1], 1, generator=generator)))
    p = large.read(text, K + 1)
    drafted = torch.tensor(text[len(ids) :], dtype=torch.long, device=p.device)
    n, last = accept(p, torch.stack(q) if K else p[:0], drafted, generator)
    told.drafted, told.accepted, told.reads = told.drafted + K, told.accepted + n, told.reads + 1
    return [*drafted[:n].tolist(), int(torch.multinomial(last, 1, generator=generator))]
