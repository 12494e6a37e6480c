"""The residual stream of any decoder, seen and changed by hooks that leave the model as it was, whatever happens.

A *site* is a place in the stream: site 0 is what enters the first layer, site l what leaves the l-th. On it stand the
*logit lens* (nostalgebraist 2020: what would the model say if it stopped here?), *activation patching* (Vig et al.
2020; Meng et al. 2022: put in what another text has there, and see what follows), *steering vectors* (Turner et al.
2023: add a direction) and the *ablation* of heads. Left out: paths between single heads, gradients as attribution.

Shapes: B batch, T time, C channels, H heads, V vocabulary.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn

from minillm.models import SelfAttention, evaluating, layer_stack


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers of a model. Raises ValueError for one without a list of layers, such as an LSTM."""
    name, _ = layer_stack(model)
    stack = model.get_submodule(name) if name else None
    if not isinstance(stack, nn.ModuleList):
        raise ValueError(f"this {type(model).__name__} has no list of layers, and so no residual stream to look at")
    return list(stack)


@contextlib.contextmanager
def edited(model: nn.Module, site: int, edit: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """For the time of a block the stream x (B, T, C) at a site is edit(x), which must be a new tensor, or x itself.

    Raises: ValueError for a site that the model has not.
    """
    layers = layers_of(model)
    if not 0 <= site <= len(layers):
        raise ValueError(f"site is {site}: a model of {len(layers)} layers has those from 0 to {len(layers)}")
    if site:
        hook = layers[site - 1].register_forward_hook(lambda layer, inputs, x: edit(x))
    else:
        hook = layers[0].register_forward_pre_hook(lambda layer, inputs: (edit(inputs[0]), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


@torch.no_grad()
def residual_stream(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """The stream at every site while the model reads input_ids (B, T): (layers + 1, B, T, C)."""
    seen: list[Tensor] = []

    def see(x: Tensor) -> Tensor:
        seen.append(x.detach())
        return x

    with contextlib.ExitStack() as stack, evaluating(model):
        for site in range(len(layers_of(model)) + 1):
            stack.enter_context(edited(model, site, see))
        model(input_ids, attention_mask)
    return torch.stack(seen)


@torch.no_grad()
def logit_lens(model: nn.Module, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """What the output layer makes of the stream at every site: logits (layers + 1, B, T, V), the last the model's own.

    Source: nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    stream = residual_stream(model, input_ids, attention_mask)
    with evaluating(model):
        return torch.stack([model.head(model.norm(x)) for x in stream])


@torch.no_grad()
def patched(
    model: nn.Module, input_ids: Tensor, source: Tensor, site: int, where: Tensor, attention_mask: Tensor | None = None
) -> Tensor:
    """Logits (B, T, V) of input_ids where the stream at a site is that of other texts at some positions.

    Args: source: (layers + 1, B, T, C), the `residual_stream` of the other texts, token for token as long; where:
        boolean (B, T), the positions that are replaced.
    Source: Meng et al. 2022, section 2.1 (there with noise in the place of another text).
    """
    if source[0].shape[:2] != input_ids.shape:
        raise ValueError(
            f"the source has texts of {source.size(2)} tokens, the patched {input_ids.size(1)}: align them"
        )
    with evaluating(model), edited(model, site, lambda x: torch.where(where[..., None], source[site].to(x.dtype), x)):
        return model(input_ids, attention_mask)


def patching_map(model: nn.Module, input_ids: Tensor, other_ids: Tensor, score: Callable[[Tensor], Tensor]) -> Tensor:
    """How much of the way to another text's score each single position of the stream carries: (layers + 1, T).

    0: nothing changes when it is replaced by the other text's; 1: the score becomes that of the other text.

    Args: input_ids, other_ids: (B, T), pairs of texts of one length; score: logits (B, T, V) -> (B,), such as one
        word's logit less another's in the end. The mean over the pairs is taken of scores, not of shares.
    """
    stream = residual_stream(model, other_ids)
    with torch.no_grad(), evaluating(model):
        here, there = score(model(input_ids)).mean(), score(model(other_ids)).mean()
    if here == there:
        raise ValueError("both texts have the same score: there is no way from one to the other to measure")
    shares = torch.zeros(len(stream), input_ids.size(1))
    for site in range(len(stream)):
        for t in range(input_ids.size(1)):
            where = torch.zeros_like(input_ids, dtype=torch.bool)
            where[:, t] = True
            value = score(patched(model, input_ids, stream, site, where)).mean()
            shares[site, t] = (value - here) / (there - here)
    return shares


@torch.no_grad()
def steering_vector(model: nn.Module, with_ids: Sequence[Tensor], without_ids: Sequence[Tensor], site: int) -> Tensor:
    """The mean of the stream at the last token of some texts, less that of others: a direction (C,) to add.

    Args: with_ids, without_ids: texts (T,) that show what is wanted, and that do not.
    Source: Turner et al. 2023, "Activation addition"; means of many texts as Rimsky et al. 2023.
    """
    means = []
    for texts in (with_ids, without_ids):
        if not len(texts):
            raise ValueError("a steering vector needs texts of both kinds: there are none of one")
        means.append(torch.stack([residual_stream(model, ids[None])[site, 0, -1] for ids in texts]).mean(0))
    return means[0] - means[1]


def steered(model: nn.Module, site: int, vector: Tensor, scale: float = 1.0) -> contextlib.AbstractContextManager:
    """For the time of a block, scale * vector (C,) is added at a site to every position; `generate` works in it."""
    return edited(model, site, lambda x: x + scale * vector.to(x.dtype))


@contextlib.contextmanager
def without_heads(model: nn.Module, heads: Sequence[tuple[int, int]], means: Tensor | None = None) -> Iterator[None]:
    """For the time of a block some heads (layer, head) add nothing, or what they add on average (mean ablation).

    Args: means: (layers, H, D) as of `mean_head_outputs`; None: zeros.
    Raises: ValueError for a head that the model has not.
    """
    attentions = attentions_of(model)
    for layer, head in heads:
        if not (0 <= layer < len(attentions) and 0 <= head < attentions[layer].heads):
            raise ValueError(f"there is no head {head} of layer {layer} in a model of {len(attentions)} such layers")
    with contextlib.ExitStack() as stack:
        for layer in {layer for layer, _ in heads}:
            own = [head for one, head in heads if one == layer]

            def silence(module, inputs, layer=layer, own=own):
                x = inputs[0].unflatten(-1, (attentions[layer].heads, -1)).clone()  # (B, T, H, D)
                x[..., own, :] = 0.0 if means is None else means[layer, own].to(x.dtype)
                return (x.flatten(-2),)

            hook = attentions[layer].output.register_forward_pre_hook(silence)
            stack.callback(hook.remove)
        yield


@torch.no_grad()
def mean_head_outputs(model: nn.Module, input_ids: Tensor) -> Tensor:
    """What each head puts out, before the output matrix, on average over input_ids (B, T): (layers, H, D)."""
    found, attentions = [], attentions_of(model)
    see = lambda module, inputs: found.append(inputs[0].detach())  # noqa: E731
    with contextlib.ExitStack() as stack, evaluating(model):
        for one in attentions:
            stack.callback(one.output.register_forward_pre_hook(see).remove)
        model(input_ids)
    return torch.stack([x.unflatten(-1, (one.heads, -1)).mean((0, 1)) for x, one in zip(found, attentions)])


@torch.no_grad()
def head_effects(
    model: nn.Module, input_ids: Tensor, score: Callable[[Tensor], Tensor], means: Tensor | None = None
) -> Tensor:
    """By how much a score falls when a single head is ablated, for each: (layers, H).

    Args: input_ids: (B, T); score: logits (B, T, V) -> (B,); means: as of `without_heads`.
    """
    attentions = attentions_of(model)
    with evaluating(model):
        before = score(model(input_ids)).mean()
        effects = torch.zeros(len(attentions), max(one.heads for one in attentions))
        for layer, one in enumerate(attentions):
            for head in range(one.heads):
                with without_heads(model, [(layer, head)], means):
                    effects[layer, head] = before - score(model(input_ids)).mean()
    return effects


def attentions_of(model: nn.Module) -> list[SelfAttention]:
    """The self-attention of every layer. Raises ValueError for a model without."""
    found = [module for module in model.modules() if isinstance(module, SelfAttention)]
    if not found:
        raise ValueError(f"{type(model).__name__} has no self-attention to look at")
    return found
