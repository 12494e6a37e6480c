"""Looking into a trained transformer: what each head attends to, and which heads continue what they have seen before.

An induction head (Olsson et al. 2022, "In-context learning and induction heads") looks from a token to the one that
followed its previous occurrence, and so can say what comes next in a text that repeats: [A][B] ... [A] -> [B]. With a
token shift one layer is enough for it, since each position knows the token before it; without one it takes two.

What a head adds to the residual stream, and whether the answer depends on it: `residual`.

Shapes: B batch, T time, H heads.
"""

import torch
from torch import Tensor, nn

from minillm.models import SelfAttention, evaluating


@torch.no_grad()
def attention_maps(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """The attention weights of every head while the model reads input_ids (B, T): (layers, B, H, T reading, T read).

    The fast path never holds these weights, so each layer's inputs are caught and read by the plain formula.

    Raises: ValueError for a model without attention.
    """
    layers = [module for module in model.modules() if isinstance(module, SelfAttention)]
    if not layers:
        raise ValueError(f"{type(model).__name__} has no self-attention to look at")
    maps = []

    def catch(layer: SelfAttention, inputs: tuple) -> None:
        x, rotary, mask, _ = inputs
        q, k, _ = layer.project(x, rotary)
        maps.append(layer.attend.weights(q, k.repeat_interleave(layer.heads // layer.kv_heads, dim=1), mask))

    hooks = [layer.register_forward_pre_hook(catch) for layer in layers]
    try:
        with evaluating(model):
            model(input_ids, attention_mask)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(maps)


def induction_scores(
    model: nn.Module, vocabulary: list[int], begin: int, length=25, samples=32, generator: torch.Generator | None = None
) -> Tensor:
    """How far each head is an induction head, (layers, H): 1 looks nowhere else.

    Each sample is the token `begin`, then `length` different tokens drawn evenly from `vocabulary`, twice. The score is
    the mean attention from the tokens of the second time to those that followed them the first time. A head that looks
    everywhere alike scores about 2 / (3 length); one that looks a fixed distance back scores high at one length only,
    so ask at several.

    Raises: ValueError for a vocabulary of fewer tokens than `length`.
    Source: Olsson et al. 2022, prefix matching.
    """
    if len(vocabulary) < length:
        raise ValueError(f"{length} different tokens are to be drawn from a vocabulary of {len(vocabulary)}")
    tokens = torch.as_tensor(list(vocabulary))
    drawn = torch.stack([tokens[torch.randperm(len(tokens), generator=generator)[:length]] for _ in range(samples)])
    ids = torch.cat([torch.full((samples, 1), begin), drawn, drawn], dim=1)
    maps = attention_maps(model, ids.to(next(model.parameters()).device))
    # Position t holds a token of the second time; t - length + 1 is the one after its first occurrence.
    return maps.diagonal(1 - length, dim1=-2, dim2=-1)[..., -length:].mean((1, 3))
