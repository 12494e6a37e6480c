"""Using a language model as it is, without training: how likely does it find a text, or each answer to a prompt?

log P(text) = sum over t of log P(token t | tokens before t), the chain rule (Shannon 1948). A prompt may hold examples
of what is asked for, from which the model sees what to do (Brown et al. 2020, "Language models are few-shot learners").

A byte-pair token begins with its space: " den" is one token and "den" is two others. So a prompt ends before the space
in front of the answer, and the space belongs to the answer. As the tokenizer splits at spaces, prompt and answer then
have apart the tokens that they have together, which are those of training. Left out: task descriptions before the
examples, answers that stand in the middle of a text.
"""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minillm.data import IGNORE_INDEX, Padded
from minillm.models import evaluating
from minillm.text import Tokenizer
from minillm.training import sequence_logprobs

TEMPLATE, SEPARATOR = "Input: {input}\nAnswer: {answer}", "\n\n"


def sentence_logprob(model: nn.Module, tokenizer: Tokenizer, text: str, given: str = "") -> float:
    """log P(text | given) in nats, of a text that stands at the start of a document or, after `given`, within one."""
    return sentence_logprobs(model, tokenizer, [text], [given]).item()


@torch.no_grad()
def sentence_logprobs(
    model: nn.Module, tokenizer: Tokenizer, texts: list[str], given: Sequence[str] = (), average=False, batch_size=32
) -> Tensor:
    """`sentence_logprob` of many texts, (N,) in nats; divided by each text's number of tokens when `average`.

    A text and what it is given are encoded apart, so its tokens are the same whatever it follows.

    Raises: ValueError when a text does not fit into the model's context.
    """
    given = given or [""] * len(texts)
    device = next(model.parameters(), torch.empty(0)).device
    examples, results = [], []
    tails = [tokenizer.encode_after(text) if before else tokenizer.encode(text) for before, text in zip(given, texts)]
    for before, tail in zip(tokenizer.encode_batch(list(given)), tails):
        head = [*tokenizer.begin, *before] or [tokenizer.bos_id]  # a first token has a probability after another alone
        examples.append({"input_ids": head + tail, "labels": [IGNORE_INDEX] * len(head) + tail})
    with evaluating(model):
        for batch in Padded(examples, tokenizer.pad_id, batch_size):
            logits = model(batch["input_ids"].to(device), batch["attention_mask"].to(device))
            results.append(sequence_logprobs(logits, batch["labels"].to(device), average))
    return torch.cat(results) if results else torch.empty(0)


def few_shot_prompt(
    examples: Iterable[tuple[str, str]], query: str, template: str = TEMPLATE, separator: str = SEPARATOR
) -> str:
    """The examples as (input, answer), then the query, whose answer is to come; no examples: a zero-shot prompt.

    The separator stands between any two. The prompt ends where the white space before its answer would begin: score
    `answer_text(answer, template)` after it.

    Raises: ValueError for a template that is not {input}, then {answer}, last.

    >>> few_shot_prompt([("fox", "den"), ("pig", "sty")], "bee", "{input} : {answer}", "\\n")
    'fox : den\\npig : sty\\nbee :'
    """
    before, space = _parts(template)
    shown = [before.replace("{input}", text) + space + answer for text, answer in examples]
    return separator.join([*shown, before.replace("{input}", query)])


def answer_text(answer: str, template: str = TEMPLATE) -> str:
    """An answer as it follows a prompt of this template, with the white space before it.

    >>> answer_text("hive", "{input} : {answer}")
    ' hive'
    """
    return _parts(template)[1] + answer


def _parts(template: str) -> tuple[str, str]:
    """What stands before an answer, and the white space between."""
    before, answer, after = template.partition("{answer}")
    if not answer or after or "{input}" not in before:
        raise ValueError(f"the template is {template!r}: it must hold {{input}} and, at its end, {{answer}}")
    return before.rstrip(), before[len(before.rstrip()) :]


@torch.no_grad()
def score_candidates(
    model: nn.Module, tokenizer: Tokenizer, prompts: list[str], candidates: list[str], average=False, batch_size=256
) -> Tensor:
    """log P(candidate | prompt) in nats, (N, K); divided by each candidate's number of tokens when `average`.

    The sum is the probability of the text; the average does not punish long answers. Where one candidate begins another
    ("1" and "10"), end each with what follows it, or the longer one cannot win.

    Equal to `sentence_logprobs` of every pair, but a prompt is read once: its next token is all there is to know when
    each candidate is one token, and else the candidates go on from its key/value cache. A model without a cache reads
    every pair. batch_size counts texts read at once.

    Raises: ValueError for an empty candidate, and past the context.
    Source: Brown et al. 2020, section 2.4.
    """
    tails = [tokenizer.encode_after(candidate) for candidate in candidates]
    if not tails or not all(tails):
        raise ValueError(f"the candidates are {list(candidates)!r}: there must be some, and none may be empty")
    N, K, longest = len(prompts), len(tails), max(map(len, tails))
    if longest > 1 and not hasattr(model, "new_cache"):
        given = [prompt for prompt in prompts for _ in candidates]
        return sentence_logprobs(model, tokenizer, list(candidates) * N, given, average, batch_size).view(N, K)
    heads = [[*tokenizer.begin, *ids] or [tokenizer.bos_id] for ids in tokenizer.encode_batch(list(prompts))]
    rows = batch_size if longest == 1 else max(batch_size // K, 1)
    with evaluating(model):
        results = [
            _continued(model, tokenizer.pad(heads[start : start + rows], side="left"), tails, tokenizer)
            for start in range(0, N, rows)
        ]
    scores = torch.cat(results) if results else torch.empty(0, K)
    return scores / torch.tensor([len(tail) for tail in tails], device=scores.device) if average else scores


def _continued(model: nn.Module, prompts: dict[str, Tensor], tails: list[list[int]], tokenizer: Tokenizer) -> Tensor:
    """log P of each tail after each of the prompts, which are padded on the left, (B, K)."""
    device = next(model.parameters(), torch.empty(0)).device
    ids, mask = prompts["input_ids"].to(device), prompts["attention_mask"].to(device)
    B, longest = len(ids), max(map(len, tails))
    cache = {"cache": model.new_cache(B, ids.size(1) + longest - 1)} if longest > 1 else {}
    last = torch.zeros_like(mask, dtype=torch.bool)
    last[:, -1] = True
    scores = model(ids, mask, keep=last, **cache).float().log_softmax(-1)[:, [tail[0] for tail in tails]]  # (B, K)
    if longest == 1:
        return scores
    long = [k for k, tail in enumerate(tails) if len(tail) > 1]
    batch = tokenizer.pad([tails[k] for k in long])
    ids, own = (batch[name].to(device).repeat(B, 1) for name in ("input_ids", "attention_mask"))  # (B long, longest)
    cache["cache"].select(torch.arange(B, device=device).repeat_interleave(len(long)))
    seen = torch.cat([mask.repeat_interleave(len(long), dim=0), own[:, :-1]], dim=1)
    follows = own[:, 1:].bool()  # the positions that another token of the candidate follows
    logits = model(ids[:, :-1], seen, keep=follows, **cache)
    logprobs = -F.cross_entropy(logits.float(), ids[:, 1:][follows], reduction="none")
    rest = logprobs.new_zeros(len(ids)).index_add(0, follows.nonzero()[:, 0], logprobs)
    scores[:, long] += rest.view(B, -1)
    return scores
