"""Which token comes next, from the logits of all: greedy, temperature, top-k (Fan et al. 2018), top-p (Holtzman et al.
2020), min-p (Nguyen et al. 2024) and a penalty on what was said before (Keskar et al. 2019), in the order in which
Hugging Face's library applies them. Shapes: B batch, T time, V vocabulary.
"""

import math

import torch
from torch import Tensor

TEMPERATURE, TOP_P = 0.8, 0.9  # for texts that people read; 1 and 1 sample the whole distribution, slips included
MOST = 1e30  # a logit after a penalty, which any temperature from COLDEST up leaves finite
COLDEST = 1e-6  # below it the likeliest token is as good as certain, and logits over the temperature may overflow
SORTED, LARGE = 1024, 8192  # of a vocabulary larger than LARGE the likeliest SORTED tokens mostly make up top-p


def check_sampling(
    max_new_tokens: int, temperature: float, top_k: int, top_p: float, min_p: float = 0.0, repetition_penalty=1.0
) -> None:
    """Raise ValueError for a setting that cannot be, and name that one."""
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is {max_new_tokens}: it must be at least 0")
    if not 0 <= temperature < math.inf:  # nan is not
        raise ValueError(f"temperature is {temperature}: it must be a number from 0, which takes the likeliest token")
    if top_k < 0:
        raise ValueError(f"top_k is {top_k}: it must be at least 0, which keeps all tokens")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: it must be above 0, and at most 1, which keeps all tokens")
    if not 0 <= min_p <= 1:
        raise ValueError(f"min_p is {min_p}: it must be at least 0, which keeps all tokens, and at most 1")
    if not 0 < repetition_penalty < math.inf:
        raise ValueError(f"repetition_penalty is {repetition_penalty}: it must be above 0; 1 changes nothing")


def filter_logits(
    logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
) -> Tensor:
    """Logits (B, V) to draw from: divided by `temperature`, -inf for what is cut off, which the likeliest never is.

    Args:
        top_k: keeps the k likeliest tokens (0: all)
        top_p: keeps the smallest set of the likeliest tokens whose probability is at least p (1: all)
        min_p: keeps the tokens whose probability is at least so much of the likeliest one's (0: all)
    Raises: ValueError as `check_sampling`, and for a temperature below COLDEST, at which nothing is left to draw.

    >>> filter_logits(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), temperature=0.5, top_k=2)
    tensor([[-inf, -inf, 4., 6.]])
    """
    check_sampling(0, temperature, top_k, top_p, min_p)
    if temperature < COLDEST:
        raise ValueError(f"temperature is {temperature}: to draw from logits it must be at least {COLDEST}")
    logits = logits.float() / temperature
    if 0 < top_k < logits.size(-1):
        smallest = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, -math.inf)
    if top_p < 1:
        logits = logits.masked_fill(_beyond(logits, top_p), -math.inf)
    if min_p > 0:
        probabilities = logits.softmax(-1)
        logits = logits.masked_fill(probabilities < min_p * probabilities.amax(-1, keepdim=True), -math.inf)
    return logits


def _beyond(logits: Tensor, top_p: float) -> Tensor:
    """Where the tokens are that do not belong to the likeliest whose probability is at least top_p, (B, V)."""
    if logits.size(-1) > LARGE and not logits.is_cuda:  # on a CPU sorting all would take as long as a small model
        ordered, order = logits.topk(SORTED)
        cut = _cut((ordered - logits.logsumexp(-1, keepdim=True)).exp(), top_p)
        if bool(cut[..., -1].all()):
            return torch.ones_like(logits, dtype=torch.bool).scatter(-1, order, cut)
    ordered, order = logits.sort(descending=True)
    cut = _cut(ordered.softmax(-1), top_p)
    return cut.scatter(-1, order, cut)


def _cut(ordered: Tensor, top_p: float) -> Tensor:
    """Which of the probabilities, the largest first, are not needed; never the first, however small top_p is."""
    before = ordered.cumsum(-1) - ordered  # probability of all that is likelier
    return (before >= top_p) & (before > 0)


def penalise(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits (B, V) with those of the tokens in seen (B, T) divided by `penalty` where positive, else times it.

    Source: Keskar et al. 2019, "CTRL", section 4.1.

    >>> penalise(torch.tensor([[2.0, -1.0, 3.0]]), torch.tensor([[0, 1]]), 2.0)
    tensor([[ 1., -2.,  3.]])
    """
    scores = logits.float().gather(-1, seen)
    scores = torch.where(scores < 0, scores * penalty, scores / penalty).clamp(-MOST, MOST)
    return logits.float().scatter(-1, seen, scores)


def choose_token(logits: Tensor, temperature: float, top_k: int, top_p: float, generator, min_p: float = 0.0) -> Tensor:
    """One token id a row of logits (B, V), the likeliest at temperature 0 or nearly; ValueError as `check_sampling`."""
    if 0 <= temperature < COLDEST:
        return logits.argmax(-1)
    probabilities = filter_logits(logits, temperature, top_k, top_p, min_p).softmax(-1)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)
