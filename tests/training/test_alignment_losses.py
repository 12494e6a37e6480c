"""The losses of alignment against slow loops and the papers' formulas, and the edges: padding, extremes, nothing."""

import doctest
import math

import pytest
import torch

from minillm.data import IGNORE_INDEX
from minillm.training import (
    dpo_loss,
    gae,
    group_advantages,
    ipo_loss,
    kl_estimates,
    losses,
    masked_mean,
    ppo_policy_loss,
    ppo_value_loss,
    preference_loss,
    sequence_logprobs,
    simpo_loss,
    token_entropy,
    whiten,
)
from minillm.training.losses import token_logprobs

CLOSE = dict(rel=1e-6, abs=1e-6)
INF, NAN = math.inf, math.nan


def numbers(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ragged_mask():
    """Responses with padding on the left, on the right, on both sides, and one that is all padding."""
    return torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]])


def pad(x, left, right, value):
    """x (B, T) with columns of `value` on both sides."""
    return torch.cat([x.new_full((len(x), left), value), x, x.new_full((len(x), right), value)], dim=1)


def log_sigmoid(x):
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def test_the_examples_of_the_docstrings_are_right():
    assert doctest.testmod(losses).failed == 0


def test_log_probabilities_of_tokens_equal_a_loop_and_add_up_to_those_of_texts():
    logits, labels = numbers(3, 7, 11), torch.randint(0, 11, (3, 7), generator=torch.Generator().manual_seed(1))
    labels[0, :3], labels[1, 4:], labels[2] = IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX
    found = token_logprobs(logits, labels)
    for b in range(3):
        for t in range(6):
            label = labels[b, t + 1].item()
            expected = 0 if label == IGNORE_INDEX else torch.log_softmax(logits[b, t], 0)[label].item()
            assert found[b, t].item() == pytest.approx(expected, **CLOSE)
    assert torch.equal(found.sum(1), sequence_logprobs(logits, labels))
    assert torch.equal(token_logprobs(logits[:, :-1], labels), found)
    assert token_logprobs(logits[:, :1], labels[:, :1]).shape == (3, 0)
    with pytest.raises(ValueError, match="logits for 9 positions do not belong to labels of 7"):
        token_logprobs(numbers(3, 9, 11), labels)


def test_entropy_equals_a_loop_and_knows_certainty_and_forbidden_tokens():
    logits = numbers(2, 3, 5, scale=3)
    for b in range(2):
        for t in range(3):
            p = logits[b, t].softmax(0).tolist()
            assert token_entropy(logits)[b, t].item() == pytest.approx(-sum(q * math.log(q) for q in p), **CLOSE)
    forbidden = torch.tensor([0.0, 0.0, -INF, -INF], requires_grad=True)
    entropy = token_entropy(forbidden)
    entropy.backward()
    assert entropy.item() == pytest.approx(math.log(2)) and forbidden.grad.abs().sum() == 0
    assert token_entropy(torch.tensor([0.0, 1e4, -1e4])).item() == 0


def test_the_preference_loss_equals_a_loop_with_its_margin_and_its_centre():
    chosen, rejected = numbers(5, scale=2), numbers(5, seed=1, scale=2)
    for margin, centre in ((0.0, 0.0), (0.7, 0.0), (0.0, 0.01), (-0.2, 0.5)):
        terms = [
            -log_sigmoid(c - r - margin) + centre * (c + r) ** 2 for c, r in zip(chosen.tolist(), rejected.tolist())
        ]
        assert preference_loss(chosen, rejected, margin, centre).item() == pytest.approx(sum(terms) / 5, **CLOSE)
    assert preference_loss(chosen, chosen).item() == pytest.approx(math.log(2))


def test_the_preference_loss_lifts_the_chosen_lowers_the_rejected_and_sees_only_their_difference():
    chosen, rejected = numbers(4).requires_grad_(), numbers(4, seed=1).requires_grad_()
    preference_loss(chosen, rejected).backward()
    assert (chosen.grad < 0).all() and torch.allclose(rejected.grad, -chosen.grad)
    assert preference_loss(chosen + 3, rejected + 3).item() == pytest.approx(preference_loss(chosen, rejected).item())
    assert preference_loss(chosen + 3, rejected + 3, centre=0.01) > preference_loss(chosen, rejected, centre=0.01)


def slow_dpo(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    total = 0.0
    for pc, pr, rc, rr in zip(*(x.tolist() for x in (policy_chosen, policy_rejected, ref_chosen, ref_rejected))):
        margin = beta * ((pc - pr) - (rc - rr))
        total -= (1 - label_smoothing) * log_sigmoid(margin) + label_smoothing * log_sigmoid(-margin)
    return total / len(policy_chosen)


def four(scale=5.0):
    return [numbers(6, seed=seed, scale=scale) for seed in range(4)]


def test_dpo_equals_a_loop_and_returns_its_rewards_without_gradient():
    policy_chosen, policy_rejected, ref_chosen, ref_rejected = four()
    policy_chosen.requires_grad_()
    for beta, smoothing in ((0.1, 0.0), (0.5, 0.0), (0.3, 0.1), (0.3, 0.4)):
        loss, chosen, rejected = dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta, smoothing)
        expected = slow_dpo(policy_chosen, policy_rejected, ref_chosen, ref_rejected, beta, smoothing)
        assert loss.item() == pytest.approx(expected, **CLOSE) and loss.requires_grad
        torch.testing.assert_close(chosen, beta * (policy_chosen - ref_chosen).detach())
        torch.testing.assert_close(rejected, beta * (policy_rejected - ref_rejected))
        assert not chosen.requires_grad and not rejected.requires_grad


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_policy_that_is_its_reference_has_the_loss_ln_2_and_no_margin(smoothing):
    chosen, rejected = numbers(6, scale=50), numbers(6, seed=1, scale=50)
    loss, up, down = dpo_loss(chosen, rejected, chosen.clone(), rejected.clone(), 0.1, smoothing)
    assert loss.item() == pytest.approx(math.log(2)) and not up.any() and not down.any()


def test_the_gradient_of_dpo_is_that_of_the_paper():
    """Rafailov et al. 2023, below equation 7: beta times sigmoid of how wrong the rewards are, up and down alike."""
    policy_chosen, policy_rejected, ref_chosen, ref_rejected = four()
    policy_chosen.requires_grad_(), policy_rejected.requires_grad_()
    loss, chosen, rejected = dpo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, 0.3)
    loss.backward()
    torch.testing.assert_close(policy_chosen.grad, -0.3 * torch.sigmoid(rejected - chosen) / 6)
    torch.testing.assert_close(policy_rejected.grad, -policy_chosen.grad)


def test_smoothed_preferences_are_satisfied_by_a_finite_margin():
    """Mitchell 2023: with a share e of wrong labels the best margin is ln((1 - e) / e), and more is worse."""
    zero, best = torch.zeros(1), math.log(0.9 / 0.1)
    at = [dpo_loss(torch.tensor([m]), zero, zero, zero, 1.0, 0.1)[0].item() for m in (best - 0.5, best, best + 0.5)]
    assert at[1] < min(at[0], at[2])


def test_ipo_equals_a_loop_and_rests_where_the_log_ratios_differ_by_half_of_one_over_tau():
    policy_chosen, policy_rejected, ref_chosen, ref_rejected = four()
    h = ((policy_chosen - policy_rejected) - (ref_chosen - ref_rejected)).tolist()
    loss, chosen, rejected = ipo_loss(policy_chosen, policy_rejected, ref_chosen, ref_rejected, 0.2)
    assert loss.item() == pytest.approx(sum((x - 2.5) ** 2 for x in h) / 6, **CLOSE)
    torch.testing.assert_close(chosen - rejected, 0.2 * torch.tensor(h))
    moved = torch.tensor([2.5], requires_grad=True)
    loss = ipo_loss(moved, *torch.zeros(3, 1), 0.2)[0]
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6) and moved.grad.item() == pytest.approx(0, abs=1e-6)


def test_simpo_equals_a_loop_over_average_log_probabilities():
    logits, labels = numbers(6, 9, 11), torch.randint(0, 11, (6, 9), generator=torch.Generator().manual_seed(1))
    labels[0, 5:], labels[3, :4] = IGNORE_INDEX, IGNORE_INDEX
    average = sequence_logprobs(logits, labels, average=True)
    loss, chosen, rejected = simpo_loss(average[:3], average[3:], beta=2.0, gamma=0.6)
    tokens = token_logprobs(logits, labels)
    rewards = [2.0 * tokens[b].sum().item() / (labels[b, 1:] != IGNORE_INDEX).sum().item() for b in range(6)]
    terms = [-log_sigmoid(rewards[b] - rewards[b + 3] - 0.6) for b in range(3)]
    assert loss.item() == pytest.approx(sum(terms) / 3, **CLOSE)
    assert chosen.tolist() == pytest.approx(rewards[:3]) and rejected.tolist() == pytest.approx(rewards[3:])


@pytest.mark.parametrize("far", [1e3, -1e3])
def test_extreme_preferences_stay_finite_with_their_gradients(far):
    moved = torch.full((2,), far, requires_grad=True)
    zero = torch.zeros(2)
    for loss in (
        preference_loss(moved, zero, centre=0.01),
        dpo_loss(moved, zero, zero, zero, 1.0, 0.1)[0],
        ipo_loss(moved, zero, zero, zero, 0.1)[0],
        simpo_loss(moved, zero, 2.0, 0.5)[0],
    ):
        assert loss.isfinite() and torch.autograd.grad(loss, moved)[0].isfinite().all()


def test_no_pairs_have_no_loss():
    none = torch.zeros(0, requires_grad=True)
    for loss in (
        preference_loss(none, none, centre=0.1),
        dpo_loss(none, none, none, none, 0.1)[0],
        ipo_loss(none, none, none, none, 0.1)[0],
        simpo_loss(none, none, 1.0, 1.0)[0],
    ):
        loss.backward()
        assert loss.item() == 0


def test_means_times_their_number_add_up_over_micro_batches():
    chosen, rejected = numbers(7), numbers(7, seed=1)
    parts = [(preference_loss(chosen[i : i + 3], rejected[i : i + 3]), len(chosen[i : i + 3])) for i in (0, 3, 6)]
    assert sum(m * n for m, n in parts).item() / 7 == pytest.approx(preference_loss(chosen, rejected).item(), **CLOSE)


def test_rewards_in_half_precision_are_compared_in_fp32():
    assert preference_loss(numbers(4).bfloat16(), numbers(4).bfloat16()).dtype == torch.float32


def test_what_cannot_be_meant_is_refused():
    flat, column = torch.zeros(3), torch.zeros(3, 1)
    with pytest.raises(ValueError, match=r"chosen_rewards \(3,\), rejected_rewards \(3, 1\): .* one shape"):
        preference_loss(flat, column)
    with pytest.raises(ValueError, match="one shape"):
        dpo_loss(flat, flat, column, column, 0.1)
    with pytest.raises(ValueError, match="is 0: it must be positive"):
        dpo_loss(flat, flat, flat, flat, 0)
    with pytest.raises(ValueError, match=r"is -0\.1: it must be positive"):
        ipo_loss(flat, flat, flat, flat, -0.1)
    for smoothing in (0.5, 0.9, -0.1, NAN):
        with pytest.raises(ValueError, match=f"label_smoothing is {smoothing}: it must be at least 0 and below 0.5"):
            dpo_loss(flat, flat, flat, flat, 0.1, smoothing)
    for wrong in (NAN, float("inf"), -1.0):
        with pytest.raises(ValueError, match=f"gamma is {wrong}: it must be a number from 0 up"):
            simpo_loss(flat, flat, 2.0, wrong)
        with pytest.raises(ValueError, match=f"centre is {wrong}: it must be a number from 0 up"):
            preference_loss(flat, flat, centre=wrong)
    with pytest.raises(ValueError, match=r"values \(2, 5\)"):
        gae(torch.zeros(2, 4), torch.zeros(2, 5), torch.ones(2, 4), 1.0, 0.95)
    with pytest.raises(ValueError, match="gamma is 99"):
        gae(torch.zeros(2, 4), torch.zeros(2, 4), torch.ones(2, 4), 99, 0.95)
    with pytest.raises(ValueError, match=r"x \(2, 4\), mask \(2, 1\)"):
        masked_mean(torch.zeros(2, 4), torch.ones(2, 1))
    for wrong in (torch.zeros(4), torch.zeros(4, 1)):
        with pytest.raises(ValueError, match="2 samples or more"):
            group_advantages(wrong)


def test_kl_estimates_are_right_on_average_and_k3_is_never_negative():
    policy, reference = numbers(8).log_softmax(0), numbers(8, seed=1).log_softmax(0)
    k1, k3 = kl_estimates(policy, reference)
    kl = (policy.exp() * (policy - reference)).sum().item()
    assert (policy.exp() * k1).sum().item() == pytest.approx(kl, **CLOSE)
    assert (policy.exp() * k3).sum().item() == pytest.approx(kl, **CLOSE)
    assert (k1 < 0).any() and (k3 >= 0).all()
    for x, estimate in zip(k1.tolist(), k3.tolist()):
        assert estimate == pytest.approx(math.exp(-x) - 1 + x, **CLOSE)


def test_kl_estimates_are_exact_near_0_and_finite_far_from_it():
    small = torch.tensor([0.0, 1e-4, -1e-4])
    torch.testing.assert_close(kl_estimates(small, torch.zeros(3))[1], small**2 / 2, rtol=1e-2, atol=0)
    for far in (1e3, -1e3):
        assert all(k.isfinite() for k in kl_estimates(torch.tensor(far), torch.tensor(0.0)))


def test_masked_means_and_whitening_equal_loops():
    x, mask = numbers(4, 6, scale=3) + 2, ragged_mask()
    chosen = [v for v, m in zip(x.flatten().tolist(), mask.flatten().tolist()) if m]
    mean = sum(chosen) / len(chosen)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in chosen) / len(chosen))
    assert masked_mean(x, mask).item() == pytest.approx(mean, **CLOSE)
    for shift, offset in ((True, 0.0), (False, mean)):
        found = whiten(x, mask, shift_mean=shift)
        assert found[mask == 1].tolist() == pytest.approx([(v - mean) / deviation + offset for v in chosen], **CLOSE)
        assert (found[mask == 0] == 0).all()


@pytest.mark.parametrize("kind", [torch.bool, torch.long, torch.float32])
def test_whitening_knows_one_element_none_and_equal_ones(kind):
    x, mask = torch.tensor([[5.0, 7.0, NAN]]), torch.tensor([[1, 0, 0]]).to(kind)
    assert whiten(x, mask).tolist() == [[0, 0, 0]]
    assert whiten(x, mask, shift_mean=False).tolist() == [[5, 0, 0]]
    assert whiten(x, torch.zeros_like(mask)).tolist() == [[0, 0, 0]] and masked_mean(x, torch.zeros_like(mask)) == 0
    assert masked_mean(torch.zeros(0, 3), torch.zeros(0, 3)) == 0
    assert whiten(torch.full((2, 3), 0.1), torch.ones(2, 3)).abs().max() < 1e-3


def slow_gae(rewards, values, gamma, lam):
    """One response: the sum of equation 16, term by term."""
    T = len(rewards)
    deltas = [rewards[t] + gamma * (values[t + 1] if t + 1 < T else 0.0) - values[t] for t in range(T)]
    return [sum((gamma * lam) ** k * deltas[t + k] for k in range(T - t)) for t in range(T)]


@pytest.mark.parametrize("gamma, lam", [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0), (0.0, 0.7)])
def test_advantages_equal_the_sum_of_the_paper_whatever_side_the_padding_is_on(gamma, lam):
    rewards, values, mask = numbers(4, 6), numbers(4, 6, seed=1), ragged_mask()
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    for b in range(4):
        real = mask[b] == 1
        expected = slow_gae(rewards[b][real].tolist(), values[b][real].tolist(), gamma, lam)
        assert advantages[b][real].tolist() == pytest.approx(expected, **CLOSE)
        assert (advantages[b][~real] == 0).all() and (returns[b][~real] == 0).all()
    torch.testing.assert_close(returns, (advantages + values) * mask)


def test_a_gap_in_the_middle_of_a_response_is_passed_over():
    """As where a tool answers between two turns: those tokens are not the model's."""
    rewards, values, keep = numbers(2, 6), numbers(2, 6, seed=1), [0, 1, 4, 5]
    mask = torch.tensor([[1, 1, 0, 0, 1, 1]] * 2)
    for found, expected in zip(
        gae(rewards, values, mask, 0.9, 0.8), gae(rewards[:, keep], values[:, keep], mask[:, keep], 0.9, 0.8)
    ):
        assert torch.equal(found[:, keep], expected) and not found[:, 2:4].any()


def test_advantages_know_their_limits():
    """lam 1: what is still to come, less what was expected. lam 0: the surprise of one step."""
    rewards, values, mask = numbers(2, 5), numbers(2, 5, seed=1), torch.ones(2, 5)
    to_come = rewards.flip(1).cumsum(1).flip(1)
    torch.testing.assert_close(gae(rewards, values, mask, 1.0, 1.0)[0], to_come - values)
    torch.testing.assert_close(gae(rewards, values, mask, 1.0, 1.0)[1], to_come)
    following = torch.cat([values[:, 1:], torch.zeros(2, 1)], dim=1)
    torch.testing.assert_close(gae(rewards, values, mask, 0.9, 0.0)[0], rewards + 0.9 * following - values)
    perfect = to_come.clone().requires_grad_()
    advantages, returns = gae(rewards, perfect, mask, 1.0, 0.95)
    assert advantages.abs().max() < 1e-5 and not advantages.requires_grad and not returns.requires_grad
    assert gae(rewards[:0], values[:0], mask[:0], 1.0, 0.9)[0].shape == (0, 5)


@pytest.mark.parametrize("left, right", [(0, 3), (3, 0), (2, 5)])
@pytest.mark.parametrize("garbage", [7.0, NAN, INF, -INF])
def test_padding_on_either_side_and_whatever_stands_there_changes_nothing(left, right, garbage):
    rewards, values, mask = numbers(4, 6), numbers(4, 6, seed=1), ragged_mask()
    mess = torch.where(mask == 1, 0.0, torch.tensor(garbage))

    def wide(x):
        return pad(x + mess, left, right, garbage)

    def narrow(x):
        return x[:, left : left + 6]

    wide_mask = pad(mask, left, right, 0)
    for found, expected in zip(
        gae(wide(rewards), wide(values), wide_mask, 0.9, 0.8), gae(rewards, values, mask, 0.9, 0.8)
    ):
        assert torch.equal(narrow(found), expected) and found.isfinite().all()
    for shift in (True, False):
        torch.testing.assert_close(narrow(whiten(wide(values), wide_mask, shift)), whiten(values, mask, shift))
    for function in (ppo_policy_loss, ppo_value_loss):
        inputs = [numbers(4, 6, seed=seed, scale=0.3) for seed in range(3)]
        moved = pad(inputs[0] + mess, left, right, garbage).requires_grad_()
        loss, watched = function(moved, wide(inputs[1]), wide(inputs[2]), wide_mask)
        inputs[0].requires_grad_()
        expected_loss, expected_watched = function(*inputs, mask)
        torch.testing.assert_close((loss, watched), (expected_loss, expected_watched))
        loss.backward(), expected_loss.backward()
        torch.testing.assert_close(narrow(moved.grad), inputs[0].grad)
        assert moved.grad.abs().sum().item() == pytest.approx(inputs[0].grad.abs().sum().item())


def test_the_policy_loss_equals_a_loop_with_its_metrics():
    logprobs, old, advantages = (numbers(4, 6, seed=seed, scale=0.3) for seed in range(3))
    mask, rows = ragged_mask(), []
    for new, before, advantage, real in zip(*(x.flatten().tolist() for x in (logprobs, old, advantages, mask))):
        ratio = math.exp(new - before)
        clipped = min(max(ratio, 0.7), 1.3)
        if real:
            objective = min(ratio * advantage, clipped * advantage)
            rows.append((-objective, ratio, objective < ratio * advantage, (new - before) ** 2 / 2))
    loss, metrics = ppo_policy_loss(logprobs.requires_grad_(), old, advantages, mask, clip=0.3)
    expected = [sum(column) / len(rows) for column in zip(*rows)]
    found = [loss.item(), *(metrics[name].item() for name in ("ratio", "clip_fraction", "approx_kl"))]
    assert found == pytest.approx(expected, **CLOSE) and 0 < found[2] < 1
    assert not any(value.requires_grad for value in metrics.values())


def test_when_nothing_has_moved_the_ratio_is_1_and_the_divergence_0():
    logprobs, advantages, mask = numbers(4, 6, scale=9), numbers(4, 6, seed=1), ragged_mask()
    loss, metrics = ppo_policy_loss(logprobs, logprobs.clone(), advantages, mask)
    assert {name: value.item() for name, value in metrics.items()} == {"ratio": 1, "clip_fraction": 0, "approx_kl": 0}
    torch.testing.assert_close(loss, -masked_mean(advantages, mask))
    assert all(not k.any() for k in kl_estimates(logprobs, logprobs.clone()))


def test_the_first_step_of_the_policy_is_the_plain_policy_gradient():
    logprobs, advantages, mask = numbers(4, 6).requires_grad_(), numbers(4, 6, seed=1), ragged_mask()
    ppo_policy_loss(logprobs, logprobs.detach().clone(), advantages, mask)[0].backward()
    torch.testing.assert_close(logprobs.grad, -advantages * mask / mask.sum())


def test_a_token_learns_nothing_more_once_it_has_moved_far_enough_the_right_way():
    """Schulman et al. 2017, figure 1: only too far and in the right direction is clipped."""
    old, mask = torch.zeros(1, 4), torch.ones(1, 4)
    logprobs = torch.tensor([[1.0, -1.0, -1.0, 1.0]], requires_grad=True)  # ratio e, 1/e, 1/e, e
    loss, metrics = ppo_policy_loss(logprobs, old, torch.tensor([[1.0, -1.0, 1.0, -1.0]]), mask)
    loss.backward()
    assert logprobs.grad[0, :2].tolist() == [0, 0] and metrics["clip_fraction"].item() == 0.5
    assert logprobs.grad[0, 2] < 0 < logprobs.grad[0, 3]


@pytest.mark.parametrize("far", [1e3, -1e3])
@pytest.mark.parametrize("advantage", [2.0, 0.0, -2.0])
def test_extreme_ratios_stay_finite_with_their_gradients(far, advantage):
    logprobs = torch.full((1, 2), far, requires_grad=True)
    loss, metrics = ppo_policy_loss(logprobs, torch.zeros(1, 2), torch.full((1, 2), advantage), torch.ones(1, 2))
    loss.backward()
    assert loss.isfinite() and logprobs.grad.isfinite().all() and all(m.isfinite() for m in metrics.values())


def test_the_value_loss_equals_a_loop_and_is_clipped_around_the_old_values():
    values, old, returns = (numbers(4, 6, seed=seed, scale=0.5) for seed in range(3))
    mask, rows = ragged_mask(), []
    for v, before, target, real in zip(*(x.flatten().tolist() for x in (values, old, returns, mask))):
        free, near = (v - target) ** 2, (min(max(v, before - 0.3), before + 0.3) - target) ** 2
        if real:
            rows.append((max(free, near) / 2, near > free))
    found = ppo_value_loss(values, old, returns, mask, clip=0.3)
    assert [x.item() for x in found] == pytest.approx([sum(column) / len(rows) for column in zip(*rows)], **CLOSE)


def test_a_value_within_the_limit_is_never_counted_as_clipped_whatever_its_rounding():
    values, old, returns = (numbers(1, 500, seed=seed) for seed in range(3))
    assert not torch.equal(old + (values - old), values)  # the rounding that must not count
    assert ppo_value_loss(values, old, returns, torch.ones(1, 500), clip=100.0)[1] == 0


def test_a_value_is_pulled_to_its_return_until_it_has_moved_by_the_limit():
    values = torch.tensor([[0.1, -0.1, 0.5, -0.5]], requires_grad=True)
    returns = torch.tensor([[1.0, -1.0, 1.0, 1.0]])  # the third has gone far enough; the fourth went the wrong way
    loss, fraction = ppo_value_loss(values, torch.zeros(1, 4), returns, torch.ones(1, 4))
    loss.backward()
    assert values.grad[0].tolist() == pytest.approx([-0.9 / 4, 0.9 / 4, 0, -1.5 / 4]) and fraction.item() == 0.25
    same = ppo_value_loss(values, values.detach(), returns, torch.ones(1, 4))[0]
    torch.testing.assert_close(same, ((values - returns) ** 2).mean() / 2)


def test_an_empty_mask_has_loss_and_gradient_zero_even_beside_nan():
    for function in (ppo_policy_loss, ppo_value_loss):
        x = numbers(2, 3).requires_grad_()
        loss, watched = function(x, numbers(2, 3, seed=1), torch.full((2, 3), NAN), torch.zeros(2, 3))
        loss.backward()
        watched = watched.values() if isinstance(watched, dict) else [watched]
        assert loss.item() == 0 and not x.grad.any() and not any(watched)
    assert not any(x.any() for x in gae(numbers(2, 3), numbers(2, 3), torch.zeros(2, 3), 1.0, 0.9))


def test_group_advantages_equal_a_loop_and_do_not_mix_prompts():
    rewards = numbers(3, 5, scale=2)
    for g in range(3):
        row = rewards[g].tolist()
        mean = sum(row) / 5
        deviation = math.sqrt(sum((r - mean) ** 2 for r in row) / 4)
        expected = [(r - mean) / (deviation + 1e-4) for r in row]
        assert group_advantages(rewards)[g].tolist() == pytest.approx(expected, **CLOSE)
        plain = group_advantages(rewards, scale=False)[g]
        assert plain.tolist() == pytest.approx([r - mean for r in row], **CLOSE)
    torch.testing.assert_close(group_advantages(rewards[1:2]), group_advantages(rewards)[1:2])


@pytest.mark.parametrize("value", [0.1, 1 / 3, -1e6 / 7])
@pytest.mark.parametrize("scale", [True, False])
def test_a_group_of_equal_rewards_teaches_exactly_nothing(value, scale):
    for n in (2, 3, 7, 10):
        assert not group_advantages(torch.full((2, n), value), scale).any()
