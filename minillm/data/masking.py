"""What a masked language model is asked: tokens hidden for it to restore (Devlin et al. 2019, section 3.1)."""

import torch
from torch import Tensor

from minillm.data.examples import IGNORE_INDEX
from minillm.text import Tokenizer

MASKED, REPLACED = 0.8, 0.1  # of the selected tokens; the rest stay


def mask_tokens(
    input_ids: Tensor, tokenizer: Tokenizer, probability: float = 0.15, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Hide tokens for a model to restore.

    Each ordinary token is selected with `probability`, special ones never. Of the selected 80 % become <|mask|>, 10 %
    a random ordinary token, and 10 % stay; the model must say what stood at every one of them.

    Returns: (inputs, labels), both as input_ids (B, T); labels are the tokens selected, IGNORE_INDEX elsewhere.
    Raises: ValueError for a probability outside [0, 1], and for a tokenizer that has nothing to hide tokens behind.
    Source: Devlin et al. 2019, section 3.1.
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"the share of tokens to mask is {probability}: it must lie between 0 and 1")
    if tokenizer.mask_id is None:
        raise ValueError("this tokenizer has no token that stands for a hidden one, so its model cannot restore any")
    special, ordinary = torch.tensor(sorted(tokenizer.special_ids)), torch.tensor(tokenizer.text_ids)
    selected = torch.rand(input_ids.shape, generator=generator) < probability
    selected &= ~torch.isin(input_ids, special)
    fate = torch.rand(input_ids.shape, generator=generator)
    replaced = ordinary[torch.randint(len(ordinary), input_ids.shape, generator=generator)]
    inputs = torch.where(selected & (fate < MASKED), tokenizer.mask_id, input_ids)
    inputs = torch.where(selected & (fate >= 1 - REPLACED), replaced, inputs)
    return inputs, input_ids.masked_fill(~selected, IGNORE_INDEX)
