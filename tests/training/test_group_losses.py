"""GRPO's losses beside trl's, its advantages beside slow loops, and what the settings change."""

import doctest
import importlib.util
from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch

from minillm.training import group_losses as _face  # noqa: F401
from minillm.training import groups_that_agree, grpo_policy_loss, leave_one_out, ppo_policy_loss

needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed")


def data(B=6, T=7, seed=0, spread=0.4):
    generator = torch.Generator().manual_seed(seed)
    old = -3 * torch.rand(B, T, generator=generator)
    new = (old + spread * torch.randn(B, T, generator=generator)).requires_grad_()
    lengths = torch.randint(1, T + 1, (B,), generator=generator)
    mask = (torch.arange(T) < lengths[:, None]).float()
    advantages = torch.randn(B, 1, generator=generator)
    return new, old, advantages, mask


def theirs_of(new, old, advantages, mask, kind, low, high):
    """trl's loss of the same numbers, by its trainer's own method without a model."""
    from trl import GRPOTrainer

    same = lambda x, **more: x  # noqa: E731
    own = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *args, **more: (new, torch.zeros_like(new), None),
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, beta=0.0, loss_type=kind,
        importance_sampling_level="token", epsilon_low=low, epsilon_high=high, use_vllm=False,
        _metrics={"eval": defaultdict(list)}, args=SimpleNamespace(delta=None), model=SimpleNamespace(training=False),
        _entropy_bonus_enabled=False,
        accelerator=SimpleNamespace(gather=same, reduce=same, num_processes=1), max_completion_length=new.size(1),
        current_gradient_accumulation_steps=1,
    )  # fmt: skip
    ids = torch.zeros(len(new), new.size(1), dtype=torch.long)
    inputs = {
        "prompt_ids": ids[:, :1], "prompt_mask": torch.ones_like(ids[:, :1]), "completion_ids": ids,
        "completion_mask": mask.long(), "advantages": advantages.squeeze(1), "old_per_token_logps": old,
        "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    return GRPOTrainer._compute_loss(own, None, inputs)


@needs_trl
def test_losses_and_gradients_are_those_of_trl():
    for kind, weigh in (("bnpo", "token"), ("dapo", "token"), ("grpo", "answer"), ("dr_grpo", "constant")):
        for low, high in ((0.2, 0.2), (0.2, 0.28), (0.1, 0.6)):
            new, old, advantages, mask = data()
            loss, _ = grpo_policy_loss(new, old, advantages * mask, mask, low, high, weigh, longest=7)
            theirs = theirs_of(new, old, advantages, mask, kind, low, high)
            torch.testing.assert_close(loss, theirs)
            ours, other = torch.autograd.grad(loss, new, retain_graph=True)[0], torch.autograd.grad(theirs, new)[0]
            torch.testing.assert_close(ours, other)


def test_weighing_tokens_with_one_bound_is_ppo_s_loss_to_the_bit():
    new, old, advantages, mask = data()
    ours, seen = grpo_policy_loss(new, old, advantages * mask, mask, 0.2)
    theirs, expected = ppo_policy_loss(new, old, advantages * mask, mask, 0.2)
    assert torch.equal(ours, theirs) and all(torch.equal(seen[name], expected[name]) for name in expected)


def test_a_higher_bound_lets_an_unlikely_token_rise_and_none_fall():
    old = torch.tensor([[0.1, 0.1]]).log()
    for advantage, moves in ((1.0, True), (-1.0, False)):
        new = torch.tensor([[0.125, 0.075]]).log().requires_grad_()  # ratios 1.25 and 0.75
        loss, _ = grpo_policy_loss(new, old, torch.full((1, 2), advantage), torch.ones(1, 2), 0.2, 0.3)
        (gradient,) = torch.autograd.grad(loss, new)
        assert (gradient[0, 0] != 0) and (gradient[0, 1] != 0) == moves  # beyond a bound nothing more is gained
        new = new.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(
            grpo_policy_loss(new, old, torch.full((1, 2), advantage), torch.ones(1, 2), 0.2)[0], new
        )
        assert (gradient[0, 0] != 0) == (not moves)


def test_long_answers_weigh_as_they_are_told_to():
    new = torch.zeros(2, 4, requires_grad=True)
    mask = torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 1]])
    expected = {"token": (1 / 5, 1 / 5), "answer": (1 / 2, 1 / 8), "constant": (1 / 8, 1 / 8)}
    for weigh, (short, long) in expected.items():
        loss, _ = grpo_policy_loss(new, torch.zeros(2, 4), mask, mask, weigh=weigh, longest=4)
        (gradient,) = torch.autograd.grad(loss, new)
        assert gradient[0, 0].item() == pytest.approx(-short) and gradient[1, 2].item() == pytest.approx(-long)
    with pytest.raises(ValueError, match="weigh is 'x': choose one of token, answer, constant"):
        grpo_policy_loss(new, new, mask, mask, weigh="x")
    with pytest.raises(ValueError, match="longest is 0"):
        grpo_policy_loss(new, new, mask, mask, weigh="constant")


def test_leaving_one_out_is_a_loop_over_the_others():
    rewards = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    found = leave_one_out(rewards)
    for g in range(3):
        for i in range(5):
            others = [rewards[g, j].item() for j in range(5) if j != i]
            assert found[g, i].item() == pytest.approx(rewards[g, i].item() - sum(others) / 4, abs=1e-6)
    torch.testing.assert_close(found, 5 / 4 * (rewards - rewards.mean(1, keepdim=True)))
    with pytest.raises(ValueError, match="2 samples or more"):
        leave_one_out(torch.zeros(3, 1))
    assert groups_that_agree(torch.tensor([[1.0, 1], [0, 1], [0, 0]])).tolist() == [True, False, True]
    assert (
        doctest.testmod(__import__("sys").modules["minillm.training.group_losses"], extraglobs={"torch": torch})[0] == 0
    )
