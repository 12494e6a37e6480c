"""Generation: one token after another, each chosen from what the model expects next.

`sampling` chooses; `writing` makes texts of it; see also `beams`, `speculative`. Prompts of different lengths are
padded on the left; every text comes out as it would alone, with the cache or without. A text that is longer than the
model's context goes on with its last half in view.

Shapes: B batch, T time, V vocabulary.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.inference.few_rows import few_rows
from minillm.inference.sampling import check_sampling, choose_token, penalise
from minillm.models import evaluating

Stops = Iterable[int | Sequence[int]]
ROOM = 256  # positions that a cache has room for behind the prompt, at first
ASK_EVERY = 16  # tokens after which a device is asked whether all texts have ended; it is waited for then


class ContextWindow:
    """What a model sees of growing texts, and its logits of their next tokens.

    While a text fits into the context the cache holds all of it. Past that, the text is read again from half a context
    back, every half context: it never has fewer tokens in view than that. Each text of a batch moves on when it would
    alone.
    """

    def __init__(self, model: nn.Module, longest: int, mask: Tensor, use_cache: bool):
        """Mask (B, longest): 0 on the padding before a text, 1 on its tokens and on those to come."""
        self.model, self.cache, self.mask = model, None, None if bool(mask.all()) else mask
        self.begins = (mask != 0).int().argmax(1).tolist()  # where in its row each text's view begins
        self.context = getattr(getattr(model, "config", None), "context", longest)
        self.capacity, self.half, self.room = min(self.context, longest), max(self.context // 2, 1), 0
        self.use_cache = use_cache and hasattr(model, "new_cache")
        self.last_only = "keep" in inspect.signature(model.forward).parameters

    def next_logits(self, ids: Tensor) -> Tensor:
        """Logits (B, V) of the tokens that follow ids (B, T)."""
        T = ids.size(1)
        late = [row for row, begin in enumerate(self.begins) if T - begin > self.context]
        for row in late:
            self.begins[row] = T - self.half
        first = min(self.begins, default=0)
        if late and self.mask is not None:
            self.mask[late, : T - self.half] = 0
        mask = None if self.mask is None else self.mask[:, first:T]
        if not self.use_cache:
            return self._read(ids[:, first:], mask)
        if self.cache is None or len(late) == len(ids):
            self.room = min(self.capacity, T - first + ROOM)
            self.cache = self.model.new_cache(len(ids), self.room)
            return self._read(ids[:, first:], mask, cache=self.cache)
        self.cache.drop(first + self.cache.length - (T - 1))  # what no text has in view any more
        if self.cache.length == self.room:
            self.cache.grow(min(self.room, self.capacity - self.room))
            self.room = min(2 * self.room, self.capacity)
        logits = self._read(ids[:, -1:], mask, cache=self.cache)
        if late:  # these are read again; the others go on
            again = self.model.new_cache(len(late), self.half)
            logits[late] = self._read(ids[late, -self.half :], None, cache=again)
            self.cache.put(late, again)
        return logits

    def _read(self, ids: Tensor, mask: Tensor | None, **cache) -> Tensor:
        """The model's logits (B, V) at the last position; of a long prompt it computes no others, if it can."""
        if self.last_only:
            return self.model(ids, mask, keep=(slice(None), -1), **cache)
        return self.model(ids, mask, **cache)[:, -1]

    def select(self, rows: Tensor, shared: int = 0) -> None:
        """Go on with these rows of the batch; one may be there several times. All have `shared` tokens in common."""
        self.begins = [self.begins[row] for row in rows.tolist()]
        self.mask = None if self.mask is None else self.mask[rows]
        if self.cache is not None:
            self.cache.select(rows, shared)


@torch.no_grad()
def generate(
    model: nn.Module, input_ids: Tensor, max_new_tokens: int, temperature: float = 1.0, top_k: int = 0,
    top_p: float = 1.0, stop: Stops = (), generator: torch.Generator | None = None, *,
    attention_mask: Tensor | None = None, pad_id: int = 0, use_cache: bool = True, min_p: float = 0.0,
    repetition_penalty: float = 1.0, finished: Callable[[list[int]], bool] | None = None, exact: bool = False,
) -> Tensor:  # fmt: skip
    """Continue each prompt of input_ids (B, T) by at most `max_new_tokens` tokens; temperature 0 is greedy.

    Args:
        stop: token ids, or sequences of them, after which a text ends (they are kept)
        attention_mask: (B, T), 0 on padding, which must be on the left; pad_id stands after the end of a text
        min_p: as of `filter_logits`; repetition_penalty: as of `penalise`, for the tokens of prompt and text
        finished: asked with the new tokens of a text whether it ends
        exact: with the roundings of the model as it is trained, which in bf16 on a CPU takes longer
    Returns: (B, T + new)
    Raises: ValueError as `check_sampling` and `prepare_generation`.
    """
    check_sampling(max_new_tokens, temperature, top_k, top_p, min_p, repetition_penalty)
    window, stops = prepare_generation(model, input_ids, attention_mask, max_new_tokens, stop, use_cache)
    T, ids = input_ids.size(1), F.pad(input_ids, (0, max_new_tokens), value=pad_id)
    going = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    every, steps = 1 if ids.device.type == "cpu" else ASK_EVERY, torch.zeros((), dtype=torch.long, device=ids.device)
    with evaluating(model), few_rows(model, len(ids), exact):
        for length in range(T, T + max_new_tokens if len(ids) else T):
            logits = _next_logits(window, ids[:, :length], T, attention_mask, repetition_penalty)
            ids[:, length] = choose_token(logits, temperature, top_k, top_p, generator, min_p).where(going, pad_id)
            if stops or finished is not None:
                steps += going.any()
                going = _still_going(going, ids[:, T : length + 1], stops, finished)
                if (length + 1 - T) % every == 0 and not going.any():
                    break
    return ids[:, : T + int(steps)] if stops or finished is not None else ids


def _next_logits(window: ContextWindow, ids: Tensor, T: int, mask: Tensor | None, penalty: float) -> Tensor:
    """The logits (B, V) of the token after ids, of which the first T are the prompts, padded where mask is 0."""
    logits = window.next_logits(ids)
    if ids.size(1) == T and bool((logits.amax(-1).isfinite() == 0).any()):  # once: it makes a GPU wait
        raise ValueError("the model's logits are no numbers: its weights are damaged, or its training diverged")
    if penalty == 1:
        return logits
    said = ids if mask is None else ids.where(F.pad(mask, (0, ids.size(1) - T), value=1) != 0, ids[:, -1:])
    return penalise(logits, said, penalty)


def prepare_generation(
    model: nn.Module, input_ids: Tensor, mask: Tensor | None, max_new_tokens: int, stop: Stops, use_cache: bool = True
) -> tuple[ContextWindow, list[Tensor]]:
    """The window on the texts, and each stop as a tensor beside them.

    Raises: ValueError for what is no batch, an empty prompt, padding on the right, a prompt that does not fit into the
        model's context, and a stop that is a text or empty.
    """
    if input_ids.dim() != 2 or (mask is not None and mask.shape != input_ids.shape):
        shapes = f"{list(input_ids.shape)}" + (f" with a mask of {list(mask.shape)}" if mask is not None else "")
        raise ValueError(f"input_ids are {shapes}: give (B, T), a row for each prompt, as ids[None] of a single one")
    T, mask = input_ids.size(1), torch.ones_like(input_ids) if mask is None else mask
    if T == 0 or not bool(mask.any(1).all()):
        raise ValueError("a prompt is empty: give at least one token to start from, such as tokenizer.bos_id")
    if bool((mask[:, 1:] < mask[:, :-1]).any()):
        raise ValueError("prompts are padded on the right: pad on the left (side='left') so that the text can go on")
    window = ContextWindow(model, T + max_new_tokens, F.pad(mask, (0, max_new_tokens), value=1), use_cache)
    if T > window.context:
        raise ValueError(f"the prompt has {T} tokens and the model's context is {window.context}: shorten the prompt")
    stops = [[s] if isinstance(s, int | str) else list(s) for s in stop]
    for sequence in stops:
        if any(isinstance(s, str) for s in sequence):
            raise ValueError(f"stop has the text {sequence[0]!r}: give tokenizer.encode of it, or `write` the text")
        if not sequence:
            raise ValueError("a stop is empty, and every text would end at once: leave it out")
    return window, [torch.tensor(sequence, device=input_ids.device) for sequence in stops]


def ends_with(new: Tensor, stops: list[Tensor]) -> Tensor:
    """Which rows of the new tokens (B, n) end with a stop sequence, (B,)."""
    ended = torch.zeros(len(new), dtype=torch.bool, device=new.device)
    for sequence in stops:
        if new.size(1) >= len(sequence):
            ended |= (new[:, new.size(1) - len(sequence) :] == sequence).all(1)
    return ended


def _still_going(going: Tensor, new: Tensor, stops: list[Tensor], finished) -> Tensor:
    """Which of the texts that were going neither end with a stop nor are finished, (B,)."""
    going = going & ~ends_with(new, stops)
    if finished is not None:
        for row in going.nonzero().flatten().tolist():
            going[row] = not finished(new[row].tolist())
    return going
