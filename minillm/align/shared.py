"""A round of answers that several processes sample, judge and learn from together: each has every `world`th row.

All know all of a round in the end, so that what is computed of the whole of it (advantages, the KL divergence, the
order of its updates) is computed by each, and is the same. In an update each takes its rows of the minibatch, and its
loss counts by its share of the tokens, or of the answers. One process does what it always did.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from minillm.align.rollout import Conversation, Rollout
from minillm.data import IGNORE_INDEX
from minillm.system import Alone


def own_rows(together: Alone, rollout: Rollout) -> Rollout:
    """The answers that this process has to do with."""
    if together.world == 1:
        return rollout
    rows = torch.arange(together.rank, len(rollout.ended), together.world, device=rollout.ended.device)
    return rollout.rows(rows)


def of_all(together: Alone, own: Tensor, number: int) -> Tensor:
    """The rows of all processes, `number` of them, from those of each."""
    if together.world == 1:
        return own
    rows = own.new_zeros(number, *own.shape[1:])
    rows[together.rank :: together.world] = own
    return together.sum(rows)


def sample_together(
    together: Alone,
    draw: Callable[[Sequence[Conversation], torch.Generator], Rollout],
    asked: Sequence[Conversation],
    generator: torch.Generator,
    pad_id: int,
) -> Rollout:
    """Answers to what is asked, each process having drawn some, from random numbers of its own.

    Args: generator: the same in all processes, and so afterwards.
    """
    if together.world == 1:
        return draw(asked, generator)
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    own = torch.Generator(generator.device).manual_seed(seed + together.rank)
    part = draw(asked[together.rank :: together.world], own)
    rows = zip(part.answers, part.input_ids.tolist(), part.attention_mask.tolist(), part.labels.tolist())
    parts = together.gather([*zip(rows, part.ended.tolist())])
    rows, ended = zip(*(parts[i % together.world][i // together.world] for i in range(len(asked))))
    answers, *columns = zip(*rows)
    device, fills = part.input_ids.device, (pad_id, 0, IGNORE_INDEX)
    tensors = (
        pad_sequence([torch.tensor(row) for row in column], True, padding_value=fill).to(device)
        for column, fill in zip(columns, fills)
    )
    return Rollout(list(asked), list(answers), *tensors, torch.tensor(ended, device=device))
