"""Beam search: several candidates grow side by side, and the likeliest text that they find wins.

Shapes: T time, V vocabulary.
"""

import math

import torch
from torch import Tensor, nn

from minillm.inference.few_rows import few_rows
from minillm.inference.generation import Stops, ends_with, prepare_generation
from minillm.models import evaluating


@torch.no_grad()
def beam_search(
    model: nn.Module, input_ids: Tensor, max_new_tokens: int, beams=4, stop: Stops = (), length_penalty=1.0
) -> tuple[Tensor, float]:
    """The likeliest continuation that `beams` parallel candidates find, of one prompt input_ids (1, T).

    A candidate ends at a stop, a token id or a sequence of them; the search ends when no open candidate can still win,
    or at max_new_tokens. Without stops and with as many beams as there are texts, this finds the likeliest text of all.

    Returns: its ids with the prompt, (1, T + new), and its score: log-probability / (new tokens ** length_penalty).
    Raises: ValueError as `generate`, for max_new_tokens below 1, for several prompts, and for a text past the context.
    """
    window, stops = _prepare(model, input_ids, max_new_tokens, beams, stop)
    T, ids, scores = input_ids.size(1), input_ids, torch.zeros(1)  # open candidates, the likeliest first
    best, best_score = input_ids[0], -math.inf  # of those that have ended
    with evaluating(model), few_rows(model, beams):
        for new in range(1, max_new_tokens + 1):
            logprobs = window.next_logits(ids).float().log_softmax(-1).cpu()  # (candidates, V)
            total = (scores[:, None] + logprobs).flatten()
            scores, index = total.topk(min(2 * beams, len(total)))  # enough, were half of them to end here
            parent, token = (part.to(ids.device) for part in (index // logprobs.size(1), index % logprobs.size(1)))
            candidates = torch.cat([ids[parent], token[:, None]], dim=1)
            ended = ends_with(candidates[:, T:], stops).cpu()
            if ended.any() and float(scores[ended][0]) / new**length_penalty > best_score:
                best, best_score = candidates[ended][0], float(scores[ended][0]) / new**length_penalty
            keep = (~ended).nonzero().flatten()[:beams]
            ids, scores = candidates[keep], scores[keep]
            window.select(parent[keep], shared=T)
            # Scores only fall, so with a penalty of at most 1 the best open candidate is bounded by its score now.
            bound = float(scores[0]) / max_new_tokens**length_penalty if len(scores) else -math.inf
            if bound <= best_score:
                break
            if new == max_new_tokens:
                best, best_score = ids[0], bound
    return best[None], best_score


def _prepare(model: nn.Module, input_ids: Tensor, max_new_tokens: int, beams: int, stop: Stops):
    """The window and the stops of `prepare_generation`, once all that is given has been checked."""
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}: beam search takes at least 1")
    window, stops = prepare_generation(model, input_ids, None, max_new_tokens, stop)
    if len(input_ids) != 1 or beams < 1:
        raise ValueError(f"beam search takes one prompt and at least one beam, not {len(input_ids)} and {beams}")
    if input_ids.size(1) + max_new_tokens > window.context:
        raise ValueError(f"prompt and {max_new_tokens} new tokens exceed the model's context of {window.context}")
    return window, stops
