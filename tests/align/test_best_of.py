"""The best of n: what is chosen, and how far it lies from what was drawn from."""

import math

import pytest
import torch
from toys import PROMPTS, TOKENIZER, ask, decoder, share, various

from minillm.align.best_of import best_of_n, best_of_n_kl, rejection_sampled
from minillm.align.rollout import sample


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("n", [1, 2, 4, 16])
def test_the_distance_equals_a_monte_carlo_estimate_when_no_two_rewards_are_equal(n):
    """An answer's rank u is uniform in (0, 1); the best of n has density n u^(n - 1), of which the log is averaged."""
    best = torch.rand(200_000, n, generator=seeded(), dtype=torch.float64).amax(1)
    estimate = (math.log(n) + (n - 1) * best.log()).mean().item()
    assert best_of_n_kl(n) == pytest.approx(estimate, abs=0.01)


@pytest.mark.parametrize("n", [2, 4, 16])
def test_the_distance_is_a_bound_for_few_answers_and_is_reached_by_many(n):
    for answers, slack in ((2, None), (10, None), (20_000, 1e-3)):
        before = torch.rand(answers, generator=seeded(), dtype=torch.float64).softmax(
            0
        )  # in the order of their rewards
        below = torch.cat((torch.zeros(1), before.cumsum(0)[:-1])).double()
        after = (below + before) ** n - below**n  # the best is this one: all are this or worse, not all are worse
        exact = (after * (after / before).log()).sum().item()
        assert 0 < exact <= best_of_n_kl(n)
        assert slack is None or exact == pytest.approx(best_of_n_kl(n), abs=slack)


def test_the_best_of_n_answers_of_a_model_are_distributed_as_the_formula_says():
    """A model that writes one token: its probabilities are known, and so are those of the best of 4."""
    policy, n, times = decoder(), 4, 3000
    order = ["", *"hgfedcba "]
    rank = {text: float(place) for place, text in enumerate(order)}  # special tokens are no text
    probability = policy(torch.tensor([TOKENIZER.apply_chat(ask("a"), reply=True)[0]]))[0, -1].softmax(-1)
    before = torch.tensor([0.0] + [probability[TOKENIZER.encode(c)[0]].item() for c in order[1:]])
    before[0] = 1 - before.sum()
    up_to = before.cumsum(0)
    expected = up_to**n - (up_to - before) ** n
    answers, rewards = best_of_n(
        policy, TOKENIZER, [ask("a")] * times, lambda c, a: [rank[t] for t in a], n, 1, seeded()
    )
    assert rewards.shape == (times, n)
    found = torch.tensor([answers.count(text) / times for text in order])
    assert (found - expected).abs().max() < 0.03
    assert (expected - before).abs().max() > 0.1
    assert 0 < (expected * (expected / before).log()).sum().item() <= best_of_n_kl(n)


def test_each_answer_is_the_best_of_its_own_prompt_and_one_of_one_is_a_plain_sample():
    policy = decoder()
    drawn = sample(policy, TOKENIZER, [p for p in PROMPTS for _ in range(5)], 6, generator=seeded()).answers
    answers, rewards = best_of_n(policy, TOKENIZER, PROMPTS, various, 5, 6, seeded())
    for row, answer in enumerate(answers):
        mine = drawn[row * 5 : row * 5 + 5]
        values = various(None, mine)
        assert torch.equal(values, rewards[row]) and answer == mine[values.argmax()]
    fewer, _ = best_of_n(policy, TOKENIZER, PROMPTS, various, 5, 6, seeded(), batch_size=40)
    assert fewer == answers
    one, values = best_of_n(policy, TOKENIZER, PROMPTS, various, 5, 6, seeded(), batch_size=7)
    assert len(one) == 8 and torch.equal(various(None, one), values.amax(1))
    alone, _ = best_of_n(policy, TOKENIZER, PROMPTS, various, 1, 6, seeded(1))
    assert alone == sample(policy, TOKENIZER, PROMPTS, 6, generator=seeded(1)).answers


def test_more_answers_find_more_reward():
    means = [
        best_of_n(decoder(), TOKENIZER, PROMPTS * 8, share("a"), n, 6, seeded())[1].amax(1).mean() for n in (1, 4, 16)
    ]
    assert means[0] < means[1] < means[2]


def test_what_was_kept_becomes_conversations_to_tune_on():
    kept = rejection_sampled([ask("a"), ask("b")], ["c", "d"])
    assert kept == [
        [*ask("a"), {"role": "assistant", "content": "c"}],
        [*ask("b"), {"role": "assistant", "content": "d"}],
    ]
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        rejection_sampled([ask("a"), ask("b")], ["c"])


def test_what_cannot_be_chosen_from_is_refused():
    for n in (0, -1):
        with pytest.raises(ValueError, match=f"n is {n}: the best is chosen of at least 1 answer"):
            best_of_n_kl(n)
        with pytest.raises(ValueError, match=f"n is {n}"):
            best_of_n(decoder(), TOKENIZER, PROMPTS, various, n)
        with pytest.raises(ValueError, match=f"batch_size is {n}: draw at least 1 answer at a time"):
            best_of_n(decoder(), TOKENIZER, PROMPTS, various, 2, 4, batch_size=n)
    with pytest.raises(FloatingPointError, match="is nan: a reward must be a finite number"):
        best_of_n(decoder(), TOKENIZER, PROMPTS, lambda c, a: [math.nan] * len(a), 2, 4)
    with pytest.raises(ValueError, match="the rewards of 16 answers have shape"):
        best_of_n(decoder(), TOKENIZER, PROMPTS, lambda c, a: [1.0], 2, 4)
    with pytest.raises(ValueError, match="no prompts to answer"):
        best_of_n(decoder(), TOKENIZER, [], various, 2)
