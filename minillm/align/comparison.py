"""What an aligned policy answers beside what it answered before; judged by the truth where it is known, as of tales."""

from collections.abc import Sequence

import torch
from torch import nn

from minillm import tales
from minillm.align.config import PPOConfig
from minillm.align.rollout import Conversation, answer_logprobs, sample
from minillm.metrics import bootstrap_interval
from minillm.system import Compute, to_json, write_text
from minillm.text import Tokenizer
from minillm.training import RunFolder

PROMPTS_AT_ONCE = 50
ANSWERS_SHOWN = 8  # in samples.txt


@torch.no_grad()
def sample_answers(
    policy: nn.Module,
    tokenizer: Tokenizer,
    conversations: Sequence[Conversation],
    compute: Compute | None = None,
    seed: int = 0,
    max_new_tokens: int = PPOConfig.max_new_tokens,
    reference: nn.Module | None = None,
) -> tuple[list[str], list[float]]:
    """Answer each prompt once, drawn at temperature 1, and measure how far the policy is from a reference.

    Args:
        conversations: prompts, each ending with a user's message
        compute: where policy and reference are, and in which precision (default: where the policy is, in its own)
    Returns: the answers, and the log-ratio of each in nats, log p(answer) under the policy less that under the
        reference (0 without one): their mean estimates the KL divergence.
    """
    compute = compute or Compute.of(policy)
    generator = torch.Generator(compute.device).manual_seed(seed)
    answers, log_ratios = [], []
    for begin in range(0, len(conversations), PROMPTS_AT_ONCE):
        some = conversations[begin : begin + PROMPTS_AT_ONCE]
        with compute.autocast():
            rollout = sample(policy, tokenizer, some, max_new_tokens, generator=generator)
            answers += rollout.answers
            if reference is None:
                log_ratios += [0.0] * len(some)
            else:
                of_tokens = answer_logprobs(policy, rollout) - answer_logprobs(reference, rollout)
                log_ratios += of_tokens.sum(1).tolist()
    return answers, log_ratios


def true_scores(conversations: Sequence[Conversation], answers: Sequence[str]) -> list[float] | None:
    """The true score of each answer; None where the prompts are no tales, and nobody knows it."""
    try:
        return [tales.score_letter(c[-1]["content"], answer).score for c, answer in zip(conversations, answers)]
    except ValueError:
        return None


def compare_answers(
    conversations: Sequence[Conversation], after: Sequence[str], before: Sequence[str], log_ratios: Sequence[float]
) -> dict:
    """Scores of the answers after alignment, beside those before it: true scores, and how often the later one wins.

    Args: log_ratios: of the answers after, as of `sample_answers`.
    """
    found = {
        "kl": sum(log_ratios) / len(log_ratios),
        "length": sum(len(answer.split()) for answer in after) / len(after),
        "length_before": sum(len(answer.split()) for answer in before) / len(before),
    }
    scores, old = true_scores(conversations, after), true_scores(conversations, before)
    if scores is None or old is None:
        return found
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in zip(scores, old)]
    interval, won = bootstrap_interval(scores), bootstrap_interval(wins)
    deviation = torch.tensor(old).std(correction=0).item()
    return found | {
        **dict(zip(("true_score", "true_score_low", "true_score_high"), interval)),
        "true_score_before": sum(old) / len(old),
        "deviations_gained": (interval.mean - sum(old) / len(old)) / deviation if deviation else None,
        **dict(zip(("win_rate", "win_rate_low", "win_rate_high"), won)),
    }


def write_answers(
    run: RunFolder, conversations: Sequence[Conversation], after: Sequence[str], before: Sequence[str]
) -> None:
    """predictions.jsonl, all of them, and samples.txt, some to read."""
    prompts = [conversation[-1]["content"] for conversation in conversations]
    rows = [{"prompt": p, "before": b, "after": a} for p, b, a in zip(prompts, before, after)]
    write_text(run.path / "predictions.jsonl", "".join(to_json(row) + "\n" for row in rows))
    shown = [f"{row['prompt']}\n\nbefore: {row['before']}\n\nafter:  {row['after']}" for row in rows[:ANSWERS_SHOWN]]
    write_text(run.path / "samples.txt", "\n\n---\n\n".join(shown) + "\n")
