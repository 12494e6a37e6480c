"""GRPO and REINFORCE: what a group teaches, and what it asks."""

import pytest
import torch
from toys import FP32, PROMPTS, TOKENIZER, decoder, same, share, various, weights

from minillm.align import GRPO, GRPOConfig, reinforce
from minillm.align.grpo import train_grpo
from minillm.align.rollout import answer_logprobs, sample

SETTINGS = {"rounds": 3, "batch_size": 8, "minibatch_size": 4, "group_size": 4, "max_new_tokens": 6, **FP32}


def config(**changes):
    return GRPOConfig(**(SETTINGS | {"learning_rate": 5e-3} | changes))


def train(policy, reward, settings):
    return train_grpo(policy, TOKENIZER, PROMPTS, reward, settings, progress=False)


def loop(policy, settings, reference=None):
    return GRPO(policy, TOKENIZER, PROMPTS, various, settings, reference, None)


def drawn(run):
    return sample(run.policy, TOKENIZER, run.asked(), 6, generator=run.generator)


@pytest.mark.parametrize("scale", [True, False])
def test_groups_of_equal_rewards_teach_exactly_nothing(scale):
    policy = decoder()
    before = weights(policy)
    history = train(policy, lambda c, answers: torch.full((len(answers),), 1 / 3), config(scale=scale))
    assert same(before, weights(policy)) and history.records[-1]["kl"] == 0
    assert all(record["grad_norm"] == 0 and record["explained_variance"] == 0 for record in history.records)


def test_a_prompt_that_is_easier_than_another_teaches_nothing_either():
    def by_prompt(conversations, answers):
        return torch.tensor([float(PROMPTS.index(conversation)) for conversation in conversations])

    policy = decoder()
    before = weights(policy)
    train(policy, by_prompt, config())
    assert same(before, weights(policy))


def test_advantages_equal_a_loop_over_groups_and_are_the_same_at_every_token():
    run = loop(decoder(), config(kl_coef=0.3), reference=decoder(seed=1))
    rollout = drawn(run)
    scores, old = run.scores(rollout), run.before(rollout)
    found, _ = run.advantages(rollout, scores, old)
    rewards = [score - 0.3 * k1.sum().item() for score, k1 in zip(scores.tolist(), old["k1"])]
    for group in (0, 4):
        some = rewards[group : group + 4]
        mean = sum(some) / 4
        deviation = (sum((r - mean) ** 2 for r in some) / 3) ** 0.5
        for row, reward in enumerate(some, group):
            own = found[row][rollout.mask[row]]
            assert own.tolist() == pytest.approx([(reward - mean) / (deviation + 1e-4)] * len(own), abs=1e-5)
            assert not found[row][~rollout.mask[row]].any()


def test_reinforce_has_ratio_1_in_every_round_and_moves_by_the_plain_policy_gradient():
    settings = reinforce(config())
    history = train(decoder(), various, settings)
    for record in history.records:
        assert record["ratio"] == record["first_ratio"] == pytest.approx(1, abs=1e-5)
        assert record["clip_fraction"] == 0 and record["grad_norm"] > 0
    policy, twin = decoder(), decoder()
    run, found = loop(policy, settings), {}
    torch.nn.init.zeros_(run.actor.value.weight)
    rollout = drawn(run)
    scores, old = run.scores(rollout), run.before(rollout)
    advantages, returns = run.advantages(rollout, scores, old)
    run.optimizer.step = lambda: found.update({name: p.grad.clone() for name, p in policy.named_parameters()})
    norm = run.update(rollout, old, advantages, returns)["grad_norm"]
    groups = scores.view(2, 4)
    baseline = (groups - groups.mean(1, keepdim=True)).view(-1, 1)  # Williams 1992
    loss = -(baseline * answer_logprobs(twin, rollout)).sum() / rollout.mask.sum()
    loss.backward()
    share_left = min(1.0, 1.0 / norm.item())
    for name, p in twin.named_parameters():
        torch.testing.assert_close(found[name], p.grad * share_left, atol=1e-6, rtol=1e-3)


def test_every_prompt_is_asked_by_groups_before_any_comes_again():
    run, asked = loop(decoder(), config()), []
    for run.history.step in range(8):  # 16 groups of 8 prompts
        rows = run.asked()
        assert len(rows) == 8 and all(rows[i] is rows[i // 4 * 4] for i in range(8))
        asked += [PROMPTS.index(prompt) for prompt in rows[::4]]
    assert sorted(asked[:8]) == sorted(asked[8:]) == list(range(8))


@pytest.mark.parametrize("kind, rounds", [(lambda settings: settings, 20), (reinforce, 50)])
def test_a_rewarded_letter_is_written_nearly_always(kind, rounds):
    settings = config(rounds=rounds, batch_size=32, minibatch_size=16, group_size=8, learning_rate=1e-2, kl_coef=0.0)
    _, rewards = train(decoder(width=32), share("a"), kind(settings)).series("reward")
    assert rewards[0] < 0.3 and sum(rewards[-5:]) / 5 >= 0.95


@pytest.mark.parametrize("changes", [{"group_size": 1}, {"group_size": 3}])
def test_groups_that_do_not_fill_a_round_are_refused(changes):
    with pytest.raises(ValueError, match=f"batch_size 8 must be a multiple of group_size {changes['group_size']}"):
        config(**changes)
