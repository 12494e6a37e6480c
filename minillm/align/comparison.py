"""What an aligned policy writes, beside what it wrote before: sampled for the same prompts, and judged by the truth
where it is known, as it is of letters about tales.
"""

import json
from collections.abc import Sequence

import torch
from torch import nn

from minillm import tales
from minillm.align.rollout import Conversation, Rollout, answer_logprobs, sample
from minillm.metrics import bootstrap_interval
from minillm.system import Compute, write_text
from minillm.text import Tokenizer
from minillm.training import RunFolder

TOGETHER = 50  # prompts that are answered at once
SHOWN = 8  # answers in samples.txt


@torch.no_grad()
def sample_answers(
    policy: nn.Module,
    tokenizer: Tokenizer,
    conversations: Sequence[Conversation],
    compute: Compute,
    seed: int,
    max_new_tokens: int,
    reference: nn.Module | None = None,
) -> tuple[list[str], list[float]]:
    """An answer to each prompt, drawn at temperature 1, and how far it is from the reference: the sum of the tokens'
    log-ratios, in nats, whose mean estimates the KL divergence (0 without a reference).
    """
    generator = torch.Generator(compute.device).manual_seed(seed)
    answers, distances = [], []
    for begin in range(0, len(conversations), TOGETHER):
        some = conversations[begin : begin + TOGETHER]
        with compute.autocast():
            rollout: Rollout = sample(policy, tokenizer, some, max_new_tokens, generator=generator)
            if reference is None:
                distances += [0.0] * len(some)
            else:
                ratio = answer_logprobs(policy, rollout) - answer_logprobs(reference, rollout)
                distances += ratio.sum(1).tolist()
        answers += rollout.answers
    return answers, distances


def true_scores(conversations: Sequence[Conversation], answers: Sequence[str]) -> list[float] | None:
    """The true score of each answer; None where the prompts are no tales, and nobody knows it."""
    try:
        return [tales.score_letter(c[-1]["content"], answer).score for c, answer in zip(conversations, answers)]
    except ValueError:
        return None


def compare_answers(
    conversations: Sequence[Conversation], after: Sequence[str], before: Sequence[str], distances: Sequence[float]
) -> dict:
    """Scores of the answers after alignment, beside those before it: true scores, and how often the later one wins."""
    found = {
        "kl": sum(distances) / len(distances),
        "length": sum(len(answer.split()) for answer in after) / len(after),
        "length_before": sum(len(answer.split()) for answer in before) / len(before),
    }
    scores, old = true_scores(conversations, after), true_scores(conversations, before)
    if scores is None or old is None:
        return found
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(scores, old)]
    interval, won = bootstrap_interval(scores), bootstrap_interval(wins)
    spread = torch.tensor(old).std(correction=0).item()
    return found | {
        "true_score": interval.mean,
        "true_score_low": interval.low,
        "true_score_high": interval.high,
        "true_score_before": sum(old) / len(old),
        "deviations_gained": (interval.mean - sum(old) / len(old)) / spread if spread else None,
        "win_rate": won.mean,
        "win_rate_low": won.low,
        "win_rate_high": won.high,
    }


def write_answers(
    run: RunFolder, conversations: Sequence[Conversation], after: Sequence[str], before: Sequence[str]
) -> None:
    """predictions.jsonl, all of them, and samples.txt, some to read."""
    prompts = [conversation[-1]["content"] for conversation in conversations]
    rows = [{"prompt": p, "before": b, "after": a} for p, b, a in zip(prompts, before, after)]
    write_text(run.path / "predictions.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    shown = [f"{row['prompt']}\n\nbefore: {row['before']}\n\nafter:  {row['after']}" for row in rows[:SHOWN]]
    write_text(run.path / "samples.txt", "\n\n---\n\n".join(shown) + "\n")
