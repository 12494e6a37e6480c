"""What a policy answers, as tensors: sampled with the cache, then read again, token by token, by whoever is to judge.

Prompts are padded on the left, so that answers begin at one place; after the end of an answer stands padding. A prompt
that leaves less room than was asked for is answered beside those of its own length, so that it cuts no answer short but
its own; such answers begin further right, and no row is wider than the context. The labels are the tokens of the
answers, their ends included: what PPO and its kin learn from, and nothing else.

Shapes: B batch, T time, V vocabulary, N answer tokens of the batch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from minillm.data import IGNORE_INDEX
from minillm.inference import generate
from minillm.peft import bare
from minillm.text import Tokenizer
from minillm.training import places

Conversation = Sequence[dict[str, str]]

# Others make their matrices a little larger than their vocabularies, for speed: by 267 rows Qwen, by 905 Phi-2.
PADDED_TO, LARGEST_PADDING = 64, 1024


class Rollout(NamedTuple):
    """A batch of answers."""

    conversations: list[Conversation]
    answers: list[str]
    input_ids: Tensor  # (B, T), prompts and answers
    attention_mask: Tensor  # (B, T), 1 on both
    labels: Tensor  # (B, T), the answers' tokens; IGNORE_INDEX elsewhere
    ended: Tensor  # (B,), whether the answer came to its end within the tokens it was given

    @property
    def mask(self) -> Tensor:
        """Where answer tokens are predicted, boolean (B, T - 1), beside `token_logprobs`."""
        return self.labels[:, 1:] != IGNORE_INDEX

    def bare(self) -> "Rollout":
        """The tensors without the texts."""
        return self._replace(conversations=[], answers=[])

    def rows(self, index: Tensor) -> "Rollout":
        """Some of the answers."""
        some = index.tolist() if self.answers else []  # which a device is waited for
        lists = ([part[i] for i in some] for part in (self.conversations, self.answers))
        return Rollout(*lists, *(tensor[index] for tensor in self[2:]))


def check_vocabulary(model: nn.Module, tokenizer: Tokenizer, role: str) -> None:
    """Raise ValueError when a model reads other tokens than a tokenizer has, or is no decoder.

    A vocabulary that was filled up with rows of no token, to a multiple of 64, is its tokenizer's.
    """
    if not hasattr(getattr(model, "config", None), "context"):
        raise ValueError(f"the {role} is of kind {type(bare(model)).__name__}: what is aligned is a decoder")
    own = model.config.vocab_size
    if own != tokenizer.vocab_size and not (own % PADDED_TO == 0 and 0 < own - tokenizer.vocab_size < LARGEST_PADDING):
        raise ValueError(
            f"the {role} reads {own} different tokens and the tokenizer has {tokenizer.vocab_size}: "
            "bring the tokenizer that it was trained with"
        )


def prompt_ids(tokenizer: Tokenizer, conversations: Sequence[Conversation], context: int) -> list[list[int]]:
    """The conversations as ids, the assistant's turn opened.

    Raises: ValueError when there are none, and for one that leaves no room for an answer.
    """
    if not conversations:
        raise ValueError("there are no prompts to answer: bring at least one")
    rows = [tokenizer.apply_chat(messages, reply=True)[0] for messages in conversations]
    longest = max(rows, key=len)
    if len(longest) >= context:
        raise ValueError(
            f"a prompt of {len(longest)} tokens leaves no room for an answer in a context of {context}: shorten "
            f"{tokenizer.decode(longest[:20])!r}..., or leave it out"
        )
    return rows


@torch.no_grad()
def sample(
    policy: nn.Module,
    tokenizer: Tokenizer,
    conversations: Sequence[Conversation],
    max_new_tokens: int,
    temperature: float = 1.0,
    generator: torch.Generator | None = None,
) -> Rollout:
    """One answer of the policy to each conversation, sampled without top-k or top-p.

    An answer has max_new_tokens, or as many as its own prompt leaves of the context.

    Args: generator: on the policy's device.
    Raises: ValueError as `prompt_ids`, for a tokenizer that is not the policy's, and for max_new_tokens below 1.
    """
    check_vocabulary(policy, tokenizer, "policy")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}: an answer takes at least 1")
    rows = prompt_ids(tokenizer, conversations, policy.config.context)
    room = [min(max_new_tokens, policy.config.context - len(row)) for row in rows]
    drawn = {}
    for length in sorted(set(room), reverse=True):
        places = [place for place, own in enumerate(room) if own == length]
        some = _drawn(policy, tokenizer, [rows[place] for place in places], length, temperature, generator)
        drawn |= zip(places, zip(*some))
    in_order = zip(*(drawn[place] for place in range(len(rows))))
    fills = (tokenizer.pad_id, 0, IGNORE_INDEX)
    ids, mask, labels = (pad_sequence(part, True, padding_value=fill) for part, fill in zip(in_order, fills))
    answers = [row[row != IGNORE_INDEX].tolist() for row in labels]
    said = set(tokenizer.text_ids)  # neither special tokens nor rows of no token
    texts = [tokenizer.decode([i for i in answer if i in said]) for answer in answers]
    return Rollout(list(conversations), texts, ids, mask, labels, _ends(labels, tokenizer).any(1))


def _drawn(policy, tokenizer, rows: list[list[int]], length: int, temperature, generator) -> tuple[Tensor, ...]:
    """Answers of at most `length` tokens to prompts, as ids, attention mask and labels of a Rollout."""
    device = next(policy.parameters()).device
    batch = tokenizer.pad(rows, side="left")
    prompts, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
    more = {"attention_mask": mask, "pad_id": tokenizer.pad_id, "exact": True}  # it is held to these numbers
    ids = generate(policy, prompts, length, temperature, stop=tokenizer.stop_ids, generator=generator, **more)
    new = ids[:, prompts.size(1) :]
    ends = _ends(new, tokenizer)
    real = ends.cumsum(1) - ends.int() == 0  # up to and with the first end
    labels = torch.cat((torch.full_like(prompts, IGNORE_INDEX), new.masked_fill(~real, IGNORE_INDEX)), dim=1)
    return ids, torch.cat((mask, real.long()), dim=1), labels


def _ends(ids: Tensor, tokenizer: Tokenizer) -> Tensor:
    """Where tokens are that end an answer."""
    return torch.isin(ids, torch.tensor(sorted(tokenizer.stop_ids), device=ids.device))


def answer_states(policy: nn.Module, rollout: Rollout, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The policy's hidden states (N, C) where an answer token is predicted, and the tokens that stood there (N,).

    kept: `places(rollout.labels[:, 1:])`, where they are known.
    """
    rows, columns, tokens = places(rollout.labels[:, 1:]) if kept is None else kept
    return policy.hidden(rollout.input_ids[:, :-1], rollout.attention_mask[:, :-1])[rows, columns], tokens


def scatter_to_mask(values: Tensor, mask: Tensor) -> Tensor:
    """values (N,) where mask (B, T - 1) is true, row by row; 0 elsewhere."""
    return torch.zeros(mask.shape, dtype=values.dtype, device=values.device).masked_scatter(mask, values)


def answer_logprobs(policy: nn.Module, rollout: Rollout, temperature: float = 1.0) -> Tensor:
    """log p of each answer token in nats, (B, T - 1), 0 elsewhere; the output layer is asked for no other."""
    x, tokens = answer_states(policy, rollout)
    logits = policy.head(x).float() / temperature
    return scatter_to_mask(-F.cross_entropy(logits, tokens, reduction="none"), rollout.mask)
