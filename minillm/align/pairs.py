"""Both answers of a pair after one reading of what they begin with.

Preferences are learned from two answers to one prompt, in neighbouring rows of a batch, and the prompt is often longer
than the answers. What a causal model makes of a text's beginning does not depend on what follows. So the beginning is
read once: both answers attend to its keys and values, through which both teach it. Nothing is approximated.

Left out: more than two answers to a prompt; texts that are padded on the left or stand several in a row, and models
without keys and values or with a prompt of their own, which are read row by row.

Shapes: B pairs, T time, P time of the longest beginning, C channels, V vocabulary, N positions that are asked for.
"""

import torch
from torch import Tensor, nn

from minillm.data import IGNORE_INDEX
from minillm.models import Decoder, RewardModel
from minillm.training import inputs_of, is_sharded, keep_next, next_tokens, places, recomputes


class Beginnings:
    """Keys and values of what B pairs begin with, for 2 B rows: like a `KVCache`, but gradients flow through it."""

    def __init__(self):
        self.kept: dict[int, tuple[Tensor, Tensor]] = {}
        self.last: Tensor | None = None  # as of a `KVCache`
        self.length = 0

    def update(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the first k and v (B, H, P, D) of a layer; put them before the second (2 B, H, T, D)."""
        if layer not in self.kept:
            self.kept[layer] = k, v
            return k, v
        before = (part.repeat_interleave(2, dim=0) for part in self.kept[layer])
        return tuple(torch.cat(both, dim=2) for both in zip(before, (k, v)))

    def advance(self, T: int) -> None:
        """Count the T positions that every layer has just read."""
        self.length += T
        if self.last is not None:
            self.last = self.last.repeat_interleave(2, dim=0)


def shares_beginnings(model: nn.Module, attention_mask: Tensor | None) -> bool:
    """Whether the beginnings of such texts can be read once: by a Decoder that finds padding only after them.

    Its parts may be adapted. What is wrapped whole, by a soft prompt or by torch.compile, is no Decoder; layers whose
    activations are recomputed take nothing but the text; those of a sharded model are asked as often in each process.
    """
    if not isinstance(model, Decoder) or recomputes(model) or is_sharded(model):
        return False
    return attention_mask is None or bool((attention_mask[:, 0] == 1).all() and (attention_mask.diff() <= 0).all())


def hidden_of_pairs(model: Decoder, input_ids: Tensor, keep: Tensor) -> Tensor:
    """`model.hidden(input_ids)[keep]`, with what both texts of a pair begin with read once.

    Args:
        input_ids, keep: (2 B, T); rows 2 i and 2 i + 1 are a pair, and share what both begin with, up to the first
            position that is kept
    Returns: (N, C)
    """
    return _hidden(model, split_pairs(input_ids, keep, model.config.context))


def split_pairs(input_ids: Tensor, keep: Tensor, context: int) -> dict[str, Tensor]:
    """What `hidden_of_pairs` reads: `prompts` (B, P) and behind them `answers` (2 B, T), each with what is seen of it.

    Returns: `kept`, row and column of the N positions that are kept, (2, N), in the answers; without `prompts`, where
        nothing is shared, in the rows as they were.
    """
    alike = (input_ids[0::2] == input_ids[1::2]) & ~(keep[0::2] | keep[1::2])
    common = alike.long().cumprod(1).sum(1)  # (B,)
    P, each = int(common.max()), common.repeat_interleave(2)
    ends = (keep * torch.arange(1, keep.size(1) + 1, device=keep.device)).amax(1)  # behind the last that is kept
    T = int((ends - each).max())
    if P == 0 or T <= 0 or P + T > context:  # the longest of both kinds, though of two pairs
        return {"answers": input_ids, "kept": torch.stack(keep.nonzero(as_tuple=True))}
    prompts, before = _part(common - P, P, 0, common, input_ids[0::2])
    answers, behind, kept = _part(each, T, 0, ends, input_ids, keep)
    seen = torch.cat((before.repeat_interleave(2, dim=0), behind), dim=1)
    kept = torch.stack((kept & behind.bool()).nonzero(as_tuple=True))
    return {"prompts": prompts, "before": before, "answers": answers, "seen": seen, "kept": kept}


def _hidden(model: Decoder, parts: dict[str, Tensor]) -> Tensor:
    """The vectors (N, C) that `split_pairs` keeps."""
    rows, columns = parts["kept"][:2]
    if "prompts" not in parts:
        return model.hidden(parts["answers"])[rows, columns]
    cache = Beginnings()
    model.hidden(parts["prompts"], parts["before"], cache=cache)
    return model.hidden(parts["answers"], parts["seen"], cache=cache)[rows, columns]


def _part(begin: Tensor, T: int, low: int, end: Tensor, *rows: Tensor) -> tuple[Tensor, ...]:
    """T columns of each row from its begin on, and where in them the row is real: from low up to its end."""
    place = begin[:, None] + torch.arange(T, device=begin.device)
    real = ((place >= low) & (place < end[:, None])).long()
    first, *others = (part.gather(1, place.clamp(0, part.size(1) - 1)) for part in rows)
    return first, real, *others


def split_answers(model: nn.Module, batch: dict[str, Tensor], steady: bool = False) -> dict[str, Tensor]:
    """A batch of pairs, prepared for `next_tokens_of_pairs`."""
    if not shares_beginnings(model, batch.get("attention_mask")):
        return keep_next(model, batch, False)
    labels = batch["labels"][:, 1:]
    parts = split_pairs(batch["input_ids"][:, :-1], labels != IGNORE_INDEX, model.config.context)
    return {**batch, **parts, "kept": torch.cat((parts["kept"], places(labels)[2:]))}


def next_tokens_of_pairs(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits (N, V) and labels (N,) as of `objectives.next_tokens`, of pairs in neighbouring rows."""
    batch = batch if "kept" in batch else split_answers(model, batch)
    return (model.head(_hidden(model, batch)), batch["kept"][2]) if "answers" in batch else next_tokens(model, batch)


def split_at_ends(model: RewardModel, batch: dict[str, Tensor], steady: bool = False) -> dict[str, Tensor]:
    """A batch of pairs, prepared for `rewards_of_pairs`."""
    mask, ids = batch.get("attention_mask"), batch["input_ids"]
    last = isinstance(model, RewardModel) and model.pooling == "last" and "segment_ids" not in batch
    if not (last and shares_beginnings(model.trunk, mask)):
        return batch
    lengths = torch.full_like(ids[:, 0], ids.size(1)) if mask is None else mask.sum(1)
    keep = torch.arange(ids.size(1), device=ids.device) == lengths[:, None] - 1
    return {**batch, **split_pairs(ids, keep, model.trunk.config.context)}


def rewards_of_pairs(model: RewardModel, batch: dict[str, Tensor]) -> Tensor:
    """The rewards (2 B,) that a RewardModel gives texts, of pairs in neighbouring rows."""
    batch = batch if "answers" in batch else split_at_ends(model, batch)
    if "answers" not in batch:
        return model(**inputs_of(batch))
    return model.score(_hidden(model.trunk, batch))
