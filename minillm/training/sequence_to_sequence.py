"""One text into another by an encoder-decoder: its training example, and its loss for `fit` (teacher forcing)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minillm.data import IGNORE_INDEX
from minillm.text import Tokenizer
from minillm.training.losses import masked_lm_sum


def translation_example(source: Sequence[int], target: Sequence[int], tokenizer: Tokenizer, context: int) -> dict:
    """Two texts as an encoder-decoder is taught: one is read, of the other each token is predicted from the true past.

    Returns: {"input_ids", "decoder_input_ids", "labels"}, lists for `data.Padded`; the last two are of one length.
    Raises: ValueError for a text that does not fit into the context.

    >>> tokenizer = Tokenizer.characters("hi yo")
    >>> example = translation_example(tokenizer.encode("hi"), tokenizer.encode("yo"), tokenizer, 8)
    >>> [tokenizer.pieces(example[key]) for key in ("input_ids", "decoder_input_ids", "labels")]
    [['h', 'i', '<|eos|>'], ['<|bos|>', 'y', 'o'], ['y', 'o', '<|eos|>']]
    """
    if max(len(source), len(target)) + 1 > context:
        raise ValueError(f"texts of {len(source)} and {len(target)} tokens do not fit into a context of {context}")
    return {
        "input_ids": [*source, tokenizer.eos_id],
        "decoder_input_ids": [tokenizer.bos_id, *target],
        "labels": [*target, tokenizer.eos_id],
    }


def teacher_forced(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Predict each token of a text from the text that was read and from its true tokens so far.

    Args: model: an EncoderDecoder; batch: of `translation_example`s, as `data.Padded` makes it.
    Source: Sutskever et al. 2014, equation 1; Williams & Zipser 1989 (teacher forcing).
    """
    keep = batch["labels"] != IGNORE_INDEX
    logits = model(batch["input_ids"], batch["decoder_input_ids"], batch.get("attention_mask"), keep=keep)
    return masked_lm_sum(logits, batch["labels"][keep])


@torch.no_grad()
def translate(model: nn.Module, tokenizer: Tokenizer, texts: Sequence[str], max_new_tokens: int = 64) -> list[str]:
    """What an encoder-decoder makes of each text, its likeliest token each time (greedy).

    Raises: ValueError for a text that does not fit into the context.
    """
    if not texts:
        return []
    model.eval()
    device = next(model.parameters()).device
    batch = tokenizer.pad([[*tokenizer.encode(text), tokenizer.eos_id] for text in texts])
    ids, mask = batch["input_ids"].to(device), batch["attention_mask"].to(device)
    memory, steps = model.encode(ids, mask), max(min(max_new_tokens, model.config.context), 1)
    cache = model.new_cache(len(ids), steps)
    last, done, written = torch.full((len(ids), 1), tokenizer.bos_id, device=device), None, []
    for _ in range(steps):
        last = model.head(model.decode(last, memory, mask, cache)).argmax(-1)
        done = last == tokenizer.eos_id if done is None else done | (last == tokenizer.eos_id)
        written.append(last.masked_fill(done, tokenizer.eos_id))
        if bool(done.all()):
            break
    return [tokenizer.decode([i for i in row if i != tokenizer.eos_id]) for row in torch.cat(written, 1).tolist()]
