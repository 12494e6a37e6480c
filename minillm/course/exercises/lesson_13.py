"""Graders of lesson 13: rates by layer, how far layers moved, labels needed, freezing the lower layers."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.models import Decoder, ModelConfig, SequenceClassifier


@exercise("rates_by_layer")
def grade_rates_by_layer(answer: Callable) -> None:
    """Three layers by hand, one layer, and the ratio of neighbours."""
    came = _list(answer(0.1, 3, 2.0))
    slips = [
        ([0.1, 0.05, 0.025], "The list begins with the lowest layer, and the lowest layer gets the smallest rate."),
        ([0.0125, 0.025, 0.05], "The top layer gets the rate itself, undivided."),
        ([0.1, 0.2, 0.4], "The rate that is given is that of the top layer; the others are smaller."),
        ([0.1 / 6, 0.05, 0.1], "Each layer is divided by the factor once more than the layer above it: powers."),
        ([0.025, 0.1 / 3, 0.1], "Each layer is divided by the factor once more than the layer above it: powers."),
        ([0.025, 0.05, 0.05], "The top layer gets the rate itself, undivided."),
    ]
    expect(
        came,
        [0.025, 0.05, 0.1],
        likely_slip(came, slips, "The top layer has 0.1, the one below half of it, and so on."),
    )
    expect(_list(answer(0.3, 1, 2.6)), [0.3], "A single layer is the top layer.")
    came = _list(answer(0.02, 5, 2.6))
    if len(came) != 5:
        raise Wrong(f"it gave {len(came)} rates for 5 layers. One rate for each layer.")
    expect([b / a for a, b in zip(came, came[1:])], [2.6] * 4, "Neighbours must differ by the factor that is given.")
    expect(came[-1], 0.02, "The last is the top layer.")


@exercise("relative_change")
def grade_relative_change(answer: Callable) -> None:
    """The 3-4-5 triangle in two tensors, layers with like names, and one long vector as oracle."""
    before = {"layer 1.a": torch.tensor([6.0, 0.0]), "layer 1.b": torch.tensor([[0.0], [8.0]])}
    after = {"layer 1.a": torch.tensor([9.0, 0.0]), "layer 1.b": torch.tensor([[0.0], [12.0]])}
    came = _number(answer(_copy(before), _copy(after), "layer 1"))
    slips = [
        (0.25, "That is the square: take the root."),
        (1 / 3, "That is relative to the size afterwards: divide by the size before."),
        (5.0, "That is the change itself: divide it by the size before."),
        (1.0, "That is the sum of the ratios of the tensors: make one vector of the whole layer."),
    ]
    expect(came, 0.5, likely_slip(came, slips, "The change is 5 long (3 and 4), the layer was 10 long (6 and 8)."))
    before = {"layer 1.a": torch.tensor([1.0]), "layer 1.b": torch.tensor([100.0])}
    after = {"layer 1.a": torch.tensor([2.0]), "layer 1.b": torch.tensor([100.0])}
    slip = "A small tensor that doubled is not half the layer: no mean over tensors, no sum of norms, one long vector."
    expect(_number(answer(before, after, "layer 1")), 1 / math.sqrt(10001), slip)
    before |= {"layer 10.a": torch.tensor([1000.0]), "layer 2.a": torch.tensor([4.0])}
    after |= {"layer 10.a": torch.tensor([3000.0]), "layer 2.a": torch.tensor([5.0])}
    expect(_number(answer(before, after, "layer 2")), 0.25, "Only the tensors of the layer that is asked for count.")
    slip = '"layer 10.a" begins with "layer 1" and yet is no tensor of layer 1: compare with "layer 1.".'
    expect(_number(answer(before, after, "layer 1")), 1 / math.sqrt(10001), slip)
    generator = torch.Generator().manual_seed(1)
    before = {f"x.{i}": torch.randn(2 + i, 3, generator=generator) for i in range(4)}
    after = {name: tensor + torch.randn(tensor.shape, generator=generator) for name, tensor in before.items()}
    flat, moved = (torch.cat([t.flatten() for t in tensors.values()]) for tensors in (before, after))
    expected = ((moved - flat).norm() / flat.norm()).item()
    slip = "On four random tensors it differs from the norms of one long vector."
    expect(_number(answer(before, after, "x")), expected, slip)


@exercise("labels_needed")
def grade_labels_needed(answer: Callable) -> None:
    """Half way between 10 and 1,000, a target on a point, one never reached, one passed twice."""
    came = answer([10, 1000], [0.5, 0.9], 0.7)
    slips = [
        (505.0, "The axis of the labels is logarithmic: half way between 10 and 1,000 is 100."),
        (2.0, "That is the logarithm of the answer: raise it to a number of labels again."),
        (1000.0, "That is the first measured point that reaches it: the line reaches it before."),
        (10.0, "That is the last measured point below: the line reaches it later."),
    ]
    expect(
        _number(came), 100.0, likely_slip(came, slips, "Half way up the line is half way along the logarithmic axis.")
    )
    came = _number(answer([10, 100, 1000], [0.5, 0.6, 0.9], 0.8))
    slip = "Between 100 (0.6) and 1,000 (0.9) the target 0.8 lies two thirds up: 100 * 10 ** (2 / 3)."
    expect(came, 100 * 10 ** (2 / 3), slip)
    expect(answer([10, 100], [0.5, 0.6], 0.8), None, "A target that no measured point reaches has no answer: None.")
    came = _number(answer([10, 100, 1000], [0.5, 0.6, 0.9], 0.6))
    expect(came, 100.0, "A target that is met exactly at a point is reached at that point.")
    slip = "The curve falls again and passes the target twice: the first time counts."
    expect(_number(answer([1, 10, 100, 1000], [0.5, 0.7, 0.5, 0.9], 0.6)), 10**0.5, slip)
    slip = "The first point is good enough already: then its number of labels is the answer."
    expect(_number(answer([10, 100], [0.8, 0.9], 0.7)), 10.0, slip)


@exercise("freeze_below")
def grade_freeze_below(answer: Callable) -> None:
    """Four blocks, frozen at every height, unfrozen again; gradients flow where they should."""
    torch.manual_seed(0)
    trunk = Decoder(ModelConfig(20, context=8, layers=4, width=8, heads=2))
    model = SequenceClassifier(trunk, 2)
    nn.init.normal_(model.head.weight)  # a head of zeros passes no gradient on
    for layers in (2, 4, 0, 1):
        came = answer(model, layers)
        free = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        _check_free(free, layers)
        count = sum(p.numel() for p in model.parameters() if p.requires_grad)
        total = sum(p.numel() for p in model.parameters())
        slip = "Return how many numbers can still learn."
        if came == len(free):
            slip = "That is the number of tensors. " + slip
        if came == total - count:
            slip = "That is the number of frozen ones. " + slip
        expect(came, count, slip)
        model.zero_grad(set_to_none=True)
        loss = model(torch.tensor([[1, 2, 3], [4, 5, 6]])).log_softmax(-1)[:, 0].sum()
        loss.backward()
        idle = {name for name, parameter in model.named_parameters() if parameter.grad is None} & free
        if idle:
            raise Wrong(f"it leaves {min(idle)} free, which gets no gradient. The old output layer is not used.")


def _check_free(free: set[str], layers: int) -> None:
    """Raises Wrong unless exactly the blocks from `layers` on and the head can learn."""
    frozen_blocks = {i for i in range(4) if not any(name.startswith(f"trunk.blocks.{i}.") for name in free)}
    begun = f"with the lowest {layers} blocks frozen, "
    if not any(name.startswith("head.") for name in free):
        raise Wrong(begun + "the head of the classifier is frozen too. It is new: it must always learn.")
    if frozen_blocks != set(range(layers)):
        slip = f"Blocks {sorted(frozen_blocks)} are frozen where {list(range(layers))} were expected."
        if len(frozen_blocks) > layers and frozen_blocks == set(range(max(frozen_blocks) + 1)):
            slip += " Set requires_grad both ways: what an earlier call froze is free again, and count from 0."
        raise Wrong(begun + slip)
    embedding = any(name.startswith(("trunk.embedding.", "trunk.shift.")) for name in free)
    if layers and embedding:
        raise Wrong(begun + "the embedding still moves. It is the lowest of all: it is frozen with the first block.")
    if not layers and "trunk.embedding.weight" not in free:
        raise Wrong("with no block frozen, the embedding is free as well: then all of the trunk is tuned.")


def _copy(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}


def _number(came) -> float:
    if isinstance(came, Tensor) and came.numel() == 1:
        came = came.item()
    if isinstance(came, bool) or not isinstance(came, int | float):
        raise Wrong(f"it gave {came!r} where one number was expected.")
    return float(came)


def _list(came) -> list[float]:
    if isinstance(came, Tensor):
        came = came.tolist()
    if not isinstance(came, list | tuple):
        raise Wrong(f"it gave {came!r} where a list of rates was expected.")
    return [float(value) for value in came]
