"""Predictions of a head: its outputs for each text, and the tag of each word."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from minillm.data import ByLength
from minillm.system import Compute
from minillm.training import inputs_of


@torch.no_grad()
def predict(model: nn.Module, batches: Iterable[dict[str, Tensor]], compute: Compute | None = None) -> list[Tensor]:
    """The output of a head for each example, in order and without padding; dropout stays off afterwards.

    compute: by default where the model is, in fp32.
    Returns: for each example (K,), or (T, K) of its own tokens, in fp32 on the CPU.
    Raises: ValueError for outputs that are no numbers.
    """
    model.eval()
    compute, outputs = compute or Compute.of(model), []
    for batch in batches:
        with compute.autocast():
            output = model(**inputs_of(compute.to_device(batch))).float().cpu()
        lengths = batch["attention_mask"].sum(1).tolist()
        outputs += [row[:length] if output.dim() == 3 else row for row, length in zip(output, lengths)]
        if output.dim() > 1:  # of single numbers, rewards, `rewards_of` says which answer it was
            check_numbers(outputs[-len(output) :])
    return in_order(outputs, batches)


def check_numbers(outputs: Iterable[Tensor]) -> None:
    """Raises: ValueError for outputs that are no numbers: the largest of them would be an answer that nobody gave."""
    if any(bool(output.isnan().any()) for output in outputs):
        raise ValueError(
            "what the model says is no number: its weights are too large to compute with, or damaged; try --dtype fp32"
        )


def in_order(outputs: list, batches: Iterable) -> list:
    """The outputs in the order of the examples, where batches have another."""
    order = batches.order(0).tolist() if isinstance(batches, ByLength) else range(len(outputs))
    each = len(outputs) // max(len(order), 1)  # texts of an example
    found = dict(zip(order, (outputs[i : i + each] for i in range(0, len(outputs), each or 1))))
    return [one for place in range(len(order)) for one in found[place]]


def tags_of(logits: Tensor, example: dict, words: int, names: list[str]) -> list[str]:
    """The tag of each word, read at its first token; O for words that were cut off.

    Args: logits: (T, K) of an example as of `data.tag_example`; words: how many the text has; names: of the K tags.
    """
    tags = ["O"] * words
    seen = -1
    for place, guess in zip(example["words"], logits.argmax(-1).tolist()):
        if place > seen:
            tags[place], seen = names[guess], place
    return tags
