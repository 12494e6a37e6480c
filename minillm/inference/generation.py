"""Generation: one token after another, each chosen from what the model expects next.

Greedy, temperature, top-k (Fan et al. 2018) and top-p (Holtzman et al. 2020); for beam search see `beams`. Prompts of
different lengths are padded on the left, and with the cache every text comes out as it would alone. A text longer than
the model's context goes on with its last half in view. Left out: repetition penalties, speculative decoding.

Shapes: B batch, T time, V vocabulary.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    """What a model sees of a growing text, and its logits of the next token.

    While the text fits into the context the cache holds all of it. Past that, the text is read again from half a
    context back, every half context: the window never has fewer tokens than that.
    """

    def __init__(self, model: nn.Module, use_cache: bool):
        self.model, self.cache, self.begin = model, None, 0
        self.context = getattr(getattr(model, "config", None), "context", math.inf)
        self.use_cache = use_cache and hasattr(model, "new_cache")

    def next_logits(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Logits (B, V) of the token that follows ids (B, T). Mask (B, T or more): 1 on real tokens; None: all are."""
        T = ids.size(1)
        if T - self.begin > self.context:
            self.begin, self.cache = T - self.context // 2, None
        ids = ids[:, self.begin :]
        mask = None if mask is None else mask[:, self.begin : T]
        if not self.use_cache:
            return self.model(ids, mask)[:, -1]
        if self.cache is None:
            self.cache = self.model.new_cache(len(ids), int(self.context))
        return self.model(ids[:, self.cache.length :], mask, cache=self.cache)[:, -1]

    def select(self, rows: Tensor) -> None:
        """Go on with these rows of the batch; one may be there several times."""
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
    window, mask, stops = prepare_generation(model, input_ids, attention_mask, max_new_tokens, stop, use_cache)
    T, ids = input_ids.size(1), F.pad(input_ids, (0, max_new_tokens), value=pad_id)
    going = torch.ones(len(ids), dtype=torch.bool, device=ids.device)
    with evaluating(model):
        for length in range(T, T + max_new_tokens):
            logits = window.next_logits(ids[:, :length], mask)
            token = choose_token(logits, temperature, top_k, top_p, generator)
            ids[:, length] = token.where(going, pad_id)  # a text that has ended reads padding; nobody looks at it
            if stops or finished is not None:
                going = _still_going(going, ids[:, T : length + 1], stops, finished)
                if not going.any():
                    return ids[:, : length + 1]
    return ids


def prepare_generation(
    model: nn.Module, input_ids: Tensor, mask: Tensor | None, max_new_tokens: int, stop: Stops, use_cache: bool = True
) -> tuple[ContextWindow, Tensor | None, list[list[int]]]:
    """The window on the text, the mask of all tokens to come (None: nothing is padding), and each stop as a list.

    Raises: ValueError for an empty prompt, padding on the right, a prompt that does not fit into the model's context,
        and a stop that is a text or empty.
    """
    window, T = ContextWindow(model, use_cache), input_ids.size(1)
    if T == 0 or not (mask is None or bool(mask.any(1).all())):
        raise ValueError("a prompt is empty: give at least one token to start from, such as tokenizer.bos_id")
    if mask is not None and bool((mask[:, 1:] < mask[:, :-1]).any()):
        raise ValueError("prompts are padded on the right: pad on the left (side='left') so that the text can go on")
    if T > window.context:
        raise ValueError(f"the prompt has {T} tokens and the model's context is {window.context}: shorten the prompt")
    mask = None if mask is None or bool(mask.all()) else F.pad(mask, (0, max_new_tokens), value=1)
    stops = [[s] if isinstance(s, int | str) else list(s) for s in stop]
    for sequence in stops:
        if any(isinstance(s, str) for s in sequence):
            raise ValueError(f"stop has the text {sequence[0]!r}: give tokenizer.encode of it, or `write` the text")
        if not sequence:
            raise ValueError("a stop is empty, and every text would end at once: leave it out")
    return window, mask, stops


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Dropout is off for the time of a block; then the model is as it was."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


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
    rows = [[tokenizer.bos_id, *tokenizer.encode(prompt)] for prompt in prompts]
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
        return any(s in tokenizer.decode(new, skip_special=True) for s in stop)

    texts = []
    for start in range(0, len(rows), batch_size):
        batch = tokenizer.pad(rows[start : start + batch_size], side="left")
        prompts, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
        more = {"attention_mask": mask, "pad_id": tokenizer.pad_id, "finished": finished if stop else None}
        ids = generate(model, prompts, length, temperature, top_k, top_p, [tokenizer.eos_id], generator, **more)
        texts += [_cut(tokenizer, row, stop) for row in ids[:, prompts.size(1) :].tolist()]
    return texts


def _cut(tokenizer: Tokenizer, new: list[int], stop: Sequence[str]) -> str:
    """The text of new tokens up to <|eos|> and up to the first stop string."""
    if tokenizer.eos_id in new:
        new = new[: new.index(tokenizer.eos_id)]
    text = tokenizer.decode([i for i in new if i != tokenizer.pad_id])
    return text[: min((text.index(s) for s in stop if s in text), default=len(text))]
