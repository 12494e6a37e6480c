"""Batches that a model writes itself, as it is at that moment: what on-policy distillation learns from."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from minillm.data import IGNORE_INDEX
from minillm.inference.generation import generate


class OwnTexts:
    """Batches for `fit` of texts that `model` has just sampled: input_ids and labels (B, T), without end.

    Each begins with a prompt, drawn from `prompts`, of which nothing is learned; all prompts have one length, or are a
    beginning token each. After a stop id nothing is learned either.
    """

    def __init__(
        self, model: nn.Module, prompts: Sequence[Sequence[int]], batch_size: int, max_new_tokens: int,
        stop: Sequence[int] = (), seed: int = 0, temperature: float = 1.0,
    ):  # fmt: skip
        if not prompts or len({len(prompt) for prompt in prompts}) != 1:
            raise ValueError("the prompts must be some, and of one length: cut them, or group them by length")
        self.model, self.prompts, self.batch_size = model, torch.tensor([*map(list, prompts)]), batch_size
        self.max_new_tokens, self.stop, self.temperature = max_new_tokens, list(stop), temperature
        self.generator = torch.Generator().manual_seed(seed)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return self.forever()

    def forever(self) -> Iterator[dict[str, Tensor]]:
        """Batches without end."""
        while True:
            yield self.batch()

    def batch(self) -> dict[str, Tensor]:
        """Texts of the model as it is now."""
        device = next(self.model.parameters()).device
        rows = torch.randint(len(self.prompts), (self.batch_size,), generator=self.generator)
        generator = torch.Generator(device).manual_seed(int(torch.randint(2**62, (1,), generator=self.generator)))
        prompts = self.prompts[rows].to(device)
        ids = generate(self.model, prompts, self.max_new_tokens, self.temperature, stop=self.stop, generator=generator)
        new = ids[:, prompts.size(1) :]
        ended = torch.isin(new, torch.tensor(self.stop, device=device)) if self.stop else torch.zeros_like(new).bool()
        over = (ended.int().cumsum(1) - ended.int()) > 0  # behind the stop, which itself is learned
        labels = ids.clone()
        labels[:, : prompts.size(1)] = IGNORE_INDEX
        labels[:, prompts.size(1) :][over] = IGNORE_INDEX
        return {"input_ids": ids, "labels": labels}
