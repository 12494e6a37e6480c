"""Using a language model as it is, without training: how likely does it find a text?

log P(text) = sum over t of log P(token t | tokens before t), the chain rule (Shannon 1948).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minillm.losses import IGNORE_INDEX, sequence_logprobs
from minillm.tokenizer import Tokenizer


def sentence_logprob(model: nn.Module, tokenizer: Tokenizer, text: str, given: str = "") -> float:
    """log P(text | given) in nats, of a text that stands at the start of a document or, after `given`, within one."""
    return sentence_logprobs(model, tokenizer, [text], [given]).item()


@torch.no_grad()
def sentence_logprobs(
    model: nn.Module,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    given: Sequence[str] | None = None,
    average: bool = False,
    batch_size: int = 32,
) -> Tensor:
    """`sentence_logprob` of many texts, (N,); divided by each text's number of tokens when `average`.

    A text and what it is given are encoded apart, so its tokens are the same whatever it follows. Raises ValueError
    when a text does not fit into the model's context.
    """
    given = given or [""] * len(texts)
    device = next(model.parameters(), torch.empty(0)).device
    heads = [[tokenizer.bos_id, *ids] for ids in tokenizer.encode_batch(list(given))]
    tails = tokenizer.encode_batch(list(texts))
    was_training = model.training
    model.eval()
    results = []
    for start in range(0, len(texts), batch_size):
        rows = slice(start, start + batch_size)
        batch = tokenizer.pad([head + tail for head, tail in zip(heads[rows], tails[rows])])
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, IGNORE_INDEX)
        for row, head in enumerate(heads[rows]):
            labels[row, : len(head)] = IGNORE_INDEX
        logits = model(batch["input_ids"].to(device), batch["attention_mask"].to(device))
        results.append(sequence_logprobs(logits, labels.to(device), average))
    model.train(was_training)
    return torch.cat(results) if results else torch.empty(0)
