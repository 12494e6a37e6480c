"""Texts and answers of a model: prompts become ids, go through `generate` in batches, and what comes is decoded."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from minillm.inference.generation import generate
from minillm.inference.sampling import TEMPERATURE, TOP_P
from minillm.text import Tokenizer

UNFINISHED = "\ufffd"  # what a decoder shows for the first bytes of a character


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
    **more,
) -> list[str]:
    """Continue texts: the new part of each, ended by a stop id or by one of the strings in `stop` (which is cut off).

    An empty prompt lets the model begin a document of its own.

    Args: more: `min_p` and `repetition_penalty` as of `generate`; and `show`, which is handed each piece of the text
        of a single prompt as soon as nothing can change it any more.

    Raises: ValueError for a text where a list of texts is meant, for an empty stop, and as `generate`.
    """
    for name, texts in (("prompts", prompts), ("stop", stop)):
        if isinstance(texts, str):
            raise ValueError(f"{name} is the text {texts[:60]!r}: give a list of texts, of one if need be")
    if "" in stop:
        raise ValueError("stop has an empty text, at which every text would end at once: leave it out")
    rows = [[*tokenizer.begin, *tokenizer.encode(prompt)] or [tokenizer.bos_id] for prompt in prompts]
    choice = (temperature, top_k, top_p, generator, batch_size)
    return _complete(model, tokenizer, rows, stop, max_new_tokens, *choice, **more)


def reply(
    model: nn.Module, tokenizer: Tokenizer, conversations: Sequence, max_new_tokens: int = 200, *sampling, **more
) -> list[str]:
    """What an assistant says next in each conversation, a list of {"role", "content"} (`Tokenizer.apply_chat`).

    Args: sampling, more: temperature, top_k, top_p, generator, batch_size and what else `write` takes.
    Raises: ValueError as `Tokenizer.apply_chat` and `generate`.
    """
    rows = [tokenizer.apply_chat(messages, reply=True)[0] for messages in conversations]
    return _complete(model, tokenizer, rows, (), max_new_tokens, *sampling, **more)


def _complete(
    model, tokenizer, rows, stop, length, temperature=TEMPERATURE, top_k=0, top_p=TOP_P, generator=None, batch_size=64,
    show: Callable[[str], None] | None = None, **more,
) -> list[str]:  # fmt: skip
    """The text that follows each list of ids."""
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: it must be at least 1")
    if show is not None and len(rows) != 1:
        raise ValueError(f"{len(rows)} texts cannot be shown while they grow: give one prompt")
    device = next(model.parameters(), torch.empty(0)).device
    stream = TextStream(tokenizer, stop, show or (lambda piece: None))
    texts = []
    for start in range(0, len(rows), batch_size):
        batch = tokenizer.pad(rows[start : start + batch_size], side="left")
        prompts, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
        more |= {"attention_mask": mask, "pad_id": tokenizer.pad_id, "finished": stream.finished(show is not None)}
        ids = generate(model, prompts, length, temperature, top_k, top_p, tokenizer.stop_ids, generator, **more)
        texts += [stream.cut(row) for row in ids[:, prompts.size(1) :].tolist()]
    stream.show_all(texts[-1] if texts else "")
    return texts


class TextStream:
    """New tokens as text that may grow: where it ends, and which of it is sure to stay."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str], show: Callable[[str], None]):
        self.tokenizer, self.stop, self.show, self.shown = tokenizer, stop, show, 0
        self.known = {*tokenizer.text_ids, *tokenizer.special_ids}

    def finished(self, shows: bool) -> Callable[[list[int]], bool] | None:
        """What `generate` asks after each token; None where there is nothing to ask."""
        return self.put if shows or self.stop else None

    def put(self, new: list[int]) -> bool:
        """Show what is sure of all new tokens; whether a stop string is in their text."""
        text = self.text(new)
        end = any(s in text for s in self.stop)
        self.show_all("" if end else self.sure(text))
        return end

    def sure(self, text: str) -> str:
        """The text without the bytes of a character at its end, and without what a stop string may begin with."""
        text = text.rstrip(UNFINISHED)
        begun = [n for s in self.stop for n in range(1, len(s)) if text.endswith(s[:n])]
        return text[: len(text) - max(begun, default=0)]

    def show_all(self, text: str) -> None:
        """Show what was not shown yet."""
        if len(text) > self.shown:
            self.show(text[self.shown :])
            self.shown = len(text)

    def text(self, new: list[int]) -> str:
        """The text of new tokens up to the first stop id; rows that fill up a vocabulary of others say nothing."""
        ends, pad = self.tokenizer.stop_ids, self.tokenizer.pad_id
        end = next((place for place, i in enumerate(new) if i in ends), len(new))
        return self.tokenizer.decode([i for i in new[:end] if i != pad and i in self.known])

    def cut(self, new: list[int]) -> str:
        """The text of new tokens up to the first stop id and up to the first stop string."""
        text = self.text(new)
        return text[: min((text.index(s) for s in self.stop if s in text), default=len(text))]
