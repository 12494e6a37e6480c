"""Generation: one token after another, each chosen from what the model expects next.

Greedy, temperature, top-k (Fan et al. 2018) and top-p (Holtzman et al. 2020); for beam search see `beams`. Prompts of
different lengths are padded on the left; every text comes out as it would alone, with the cache or without. A text that
is longer than the model's context goes on with its last half in view. Left out: repetition penalties, speculative
decoding.

Shapes: B batch, T time, V vocabulary.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.inference.few_rows import few_rows
from minillm.models import evaluating
from minillm.text import Tokenizer

Stops = Iterable[int | Sequence[int]]

TEMPERATURE, TOP_P = 0.8, 0.9  # for texts that people read; 1 and 1 sample the whole distribution, slips included
COLDEST = 1e-6  # below it the likeliest token is as good as certain, and logits over the temperature may overflow


def check_sampling(max_new_tokens: int, temperature: float, top_k: int, top_p: float) -> None:
    """Raise ValueError for a setting that cannot be, and name that one."""
    if max_new_tokens < 0:
        raise ValueError(f"max_new_tokens is {max_new_tokens}: it must be at least 0")
    if not 0 <= temperature < math.inf:  # nan is not
        raise ValueError(f"temperature is {temperature}: it must be a number from 0, which takes the likeliest token")
    if top_k < 0:
        raise ValueError(f"top_k is {top_k}: it must be at least 0, which keeps all tokens")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p is {top_p}: it must be above 0, and at most 1, which keeps all tokens")


def filter_logits(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits (B, V) to draw from: divided by `temperature`, -inf for what is cut off, which the likeliest never is.

    Args:
        top_k: keeps the k likeliest tokens (0: all)
        top_p: keeps the smallest set of the likeliest tokens whose probability is at least p (1: all)
    Raises: ValueError as `check_sampling`, and for a temperature below COLDEST, at which nothing is left to draw.

    >>> filter_logits(torch.tensor([[0.0, 1.0, 2.0, 3.0]]), temperature=0.5, top_k=2)
    tensor([[-inf, -inf, 4., 6.]])
    """
    check_sampling(0, temperature, top_k, top_p)
    if temperature < COLDEST:
        raise ValueError(f"temperature is {temperature}: to draw from logits it must be at least {COLDEST}")
    logits = logits.float() / temperature
    if 0 < top_k < logits.size(-1):
        smallest = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < smallest, -math.inf)
    if top_p < 1:
        ordered, order = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)  # probability of all that is likelier
        cut = (before >= top_p) & (before > 0)  # never the likeliest, however small p is
        logits = logits.masked_fill(cut.scatter(-1, order, cut), -math.inf)
    return logits


def choose_token(logits: Tensor, temperature: float, top_k: int, top_p: float, generator) -> Tensor:
    """One token id a row of logits (B, V), the likeliest at temperature 0 or nearly; ValueError as `check_sampling`."""
    if 0 <= temperature < COLDEST:
        return logits.argmax(-1)
    probabilities = filter_logits(logits, temperature, top_k, top_p).softmax(-1)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1)


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
        self.capacity, self.half = min(self.context, longest), max(self.context // 2, 1)
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
            self.cache = self.model.new_cache(len(ids), self.capacity)
            return self._read(ids[:, first:], mask, cache=self.cache)
        self.cache.drop(first + self.cache.length - (T - 1))  # what no text has in view any more
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

    def select(self, rows: Tensor) -> None:
        """Go on with these rows of the batch; one may be there several times."""
        self.begins = [self.begins[row] for row in rows.tolist()]
        self.mask = None if self.mask is None else self.mask[rows]
        if self.cache is not None:
            self.cache.select(rows)


@torch.no_grad()
def generate(
    model: nn.Module,
    input_ids: Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    stop: Stops = (),
    generator: torch.Generator | None = None,
    *,
    attention_mask: Tensor | None = None,
    pad_id: int = 0,
    use_cache: bool = True,
    finished: Callable[[list[int]], bool] | None = None,
) -> Tensor:
    """Continue each prompt of input_ids (B, T) by at most `max_new_tokens` tokens; temperature 0 is greedy.

    Args:
        stop: token ids, or sequences of them, after which a text ends (they are kept)
        attention_mask: (B, T), 0 on padding, which must be on the left; pad_id stands after the end of a text
        finished: asked with the new tokens of a text whether it ends
    Returns: (B, T + new)
    Raises: ValueError as `check_sampling` and `prepare_generation`.
    """
    check_sampling(max_new_tokens, temperature, top_k, top_p)
    window, stops = prepare_generation(model, input_ids, attention_mask, max_new_tokens, stop, use_cache)
    T, ids = input_ids.size(1), F.pad(input_ids, (0, max_new_tokens), value=pad_id)
    going = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    with evaluating(model), few_rows(model):
        for length in range(T, T + max_new_tokens if len(ids) else T):
            logits = window.next_logits(ids[:, :length])
            if length == T and bool((logits.amax(-1).isfinite() == 0).any()):  # once: it makes a GPU wait
                raise ValueError("the model's logits are no numbers: its weights are damaged, or its training diverged")
            token = choose_token(logits, temperature, top_k, top_p, generator)
            ids[:, length] = token.where(going, pad_id)  # a text that has ended reads padding; nobody looks at it
            if stops or finished is not None:
                going = _still_going(going, ids[:, T : length + 1], stops, finished)
                if not going.any():
                    return ids[:, : length + 1]
    return ids


def prepare_generation(
    model: nn.Module, input_ids: Tensor, mask: Tensor | None, max_new_tokens: int, stop: Stops, use_cache: bool = True
) -> tuple[ContextWindow, list[list[int]]]:
    """The window on the texts, and each stop as a list.

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
    return window, stops


def ends_with(new: Tensor, stops: list[list[int]]) -> Tensor:
    """Which rows of the new tokens (B, n) end with a stop sequence, (B,)."""
    ended = torch.zeros(len(new), dtype=torch.bool, device=new.device)
    for sequence in stops:
        if new.size(1) >= len(sequence):
            tail = torch.tensor(sequence, device=new.device)
            ended |= (new[:, new.size(1) - len(sequence) :] == tail).all(1)
    return ended


def _still_going(going: Tensor, new: Tensor, stops: list[list[int]], finished) -> Tensor:
    """Which of the texts that were going neither end with a stop nor are finished, (B,)."""
    going = going & ~ends_with(new, stops)
    if finished is not None:
        for row in going.nonzero().flatten().tolist():
            going[row] = not finished(new[row].tolist())
    return going


def write(
    model: nn.Module,
    tokenizer: Tokenizer,
    prompts: Sequence[str] = ("",),
    max_new_tokens: int = 200,
    temperature: float = TEMPERATURE,
    top_k: int = 0,
    top_p: float = TOP_P,
    stop: Sequence[str] = (),
    generator: torch.Generator | None = None,
    batch_size: int = 64,
) -> list[str]:
    """Continue texts: the new part of each, ended by <|eos|> or by one of the strings in `stop` (which is cut off).

    An empty prompt lets the model begin a document of its own.

    Raises: ValueError for a text where a list of texts is meant, for an empty stop, and as `generate`.
    """
    for name, texts in (("prompts", prompts), ("stop", stop)):
        if isinstance(texts, str):
            raise ValueError(f"{name} is the text {texts[:60]!r}: give a list of texts, of one if need be")
    if "" in stop:
        raise ValueError("stop has an empty text, at which every text would end at once: leave it out")
    rows = [[*tokenizer.begin, *tokenizer.encode(prompt)] or [tokenizer.bos_id] for prompt in prompts]
    return _complete(model, tokenizer, rows, stop, max_new_tokens, temperature, top_k, top_p, generator, batch_size)


def reply(
    model: nn.Module, tokenizer: Tokenizer, conversations: Sequence, max_new_tokens: int = 200, *sampling, **more
) -> list[str]:
    """What an assistant says next in each conversation, a list of {"role", "content"} (`Tokenizer.apply_chat`).

    Args: sampling, more: temperature, top_k, top_p, generator and batch_size, as of `write`.
    Raises: ValueError as `Tokenizer.apply_chat` and `generate`.
    """
    rows = [tokenizer.apply_chat(messages, reply=True)[0] for messages in conversations]
    return _complete(model, tokenizer, rows, (), max_new_tokens, *sampling, **more)


def _complete(
    model, tokenizer, rows, stop, length, temperature=TEMPERATURE, top_k=0, top_p=TOP_P, generator=None, batch_size=64
) -> list[str]:
    """The text that follows each list of ids."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: it must be at least 1")
    device = next(model.parameters(), torch.empty(0)).device

    def finished(new: list[int]) -> bool:
        text = _text(tokenizer, new)
        return any(s in text for s in stop)

    texts = []
    for start in range(0, len(rows), batch_size):
        batch = tokenizer.pad(rows[start : start + batch_size], side="left")
        prompts, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
        more = {"attention_mask": mask, "pad_id": tokenizer.pad_id, "finished": finished if stop else None}
        ids = generate(model, prompts, length, temperature, top_k, top_p, [tokenizer.eos_id], generator, **more)
        texts += [_cut(tokenizer, row, stop) for row in ids[:, prompts.size(1) :].tolist()]
    return texts


def _text(tokenizer: Tokenizer, new: list[int]) -> str:
    """The text of new tokens up to <|eos|>."""
    new = new[: new.index(tokenizer.eos_id)] if tokenizer.eos_id in new else new
    return tokenizer.decode([i for i in new if i != tokenizer.pad_id])


def _cut(tokenizer: Tokenizer, new: list[int], stop: Sequence[str]) -> str:
    """The text of new tokens up to <|eos|> and up to the first stop string."""
    text = _text(tokenizer, new)
    return text[: min((text.index(s) for s in stop if s in text), default=len(text))]
