"""Graders of lesson 22: a step of REINFORCE, what clipping stops, the reward of each token, advantages with a mask."""

from collections.abc import Callable

import torch

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.training import gae, ppo_policy_loss


@exercise("policy_step")
def grade_policy_step(answer: Callable) -> None:
    """Three arms by hand, a reward that equals the baseline, and autograd on random policies."""
    logits, arm, reward, baseline, rate = [0.0, 0.0, 0.0], 2, 5.0, 2.0, 0.5
    p, pulled = torch.full((3,), 1 / 3), torch.tensor([0.0, 0.0, 1.0])
    came = _numbers(answer(list(logits), arm, reward, baseline, rate))
    right = 1.5 * (pulled - p)
    slips = [
        (-right, "Upwards: a reward is to grow, so the gradient is added."),
        (1.5 * pulled, "The other logits move as well: minus p at each of them."),
        (2.5 * (pulled - p), "The baseline is missing: reward - baseline is 3 here."),
        (3 * (pulled - p), "The rate is missing: it is 0.5 here."),
        (1.5 * (pulled - p) / 3, "It is the gradient of ln p, not of p: that of p is smaller by the factor p."),
        (right.softmax(0), "The logits are asked for, not the probabilities."),
        (p + right, "The step is added to the logits, not to the probabilities."),
    ]
    slips = [(value.tolist(), slip) for value, slip in slips]
    expect(came, right.tolist(), likely_slip(came, slips, "Here 0.5 x 3 x (-1/3, -1/3, 2/3) is added to zeros."))
    came = _numbers(answer([0.5, -1.0], 0, 2.0, 2.0, 0.7))
    expect(came, [0.5, -1.0], "A reward that is just the baseline teaches nothing: the logits stay.")
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        z = torch.randn(4, generator=generator).requires_grad_()
        arm = int(torch.randint(4, (), generator=generator))
        (gradient,) = torch.autograd.grad(z.log_softmax(0)[arm], z)
        right = (z + 0.2 * (1.5 - -0.5) * gradient).tolist()
        came = _numbers(answer(z.tolist(), arm, 1.5, -0.5, 0.2))
        expect(came, right, f"For the logits {[round(x, 2) for x in z.tolist()]} and arm {arm} it differs.")


@exercise("still_learns")
def grade_still_learns(answer: Callable) -> None:
    """The four corners by hand, the middle, no advantage, and the gradient of the library's loss."""
    corners = [
        (1.5, 1.0, False, "A good token that is likelier by more than the clip has had its share."),
        (0.5, -1.0, False, "A bad token that is less likely by more than the clip has had its share."),
        (1.5, -1.0, True, "A bad token that has become likelier has to be undone: nothing stops that."),
        (0.5, 1.0, True, "A good token that has become less likely has to be undone: nothing stops that."),
        (1.1, 1.0, True, "Within the clip everything learns."),
        (0.9, -1.0, True, "Within the clip everything learns."),
        (1.0, 0.0, False, "An advantage of 0 pulls nowhere."),
    ]
    for ratio, advantage, right, slip in corners:
        came = _truth(answer(ratio, advantage, 0.2))
        expect(came, right, f"For the ratio {ratio} and the advantage {advantage:+g}: {slip}")
    expect(_truth(answer(1.3, 2.0, 0.5)), True, "The clip is given, and is not always 0.2: here 1.3 is within it.")
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        ratio, advantage, clip = (torch.rand(3, generator=generator) * torch.tensor([2.0, 2.0, 0.5])).tolist()
        advantage -= 1
        logprob = torch.tensor([[ratio]]).log().requires_grad_()
        one = torch.ones(1, 1)
        ppo_policy_loss(logprob, 0 * one, advantage * one, one, clip)[0].backward()
        case = f"For the ratio {ratio:.2f}, the advantage {advantage:+.2f} and the clip {clip:.2f} it differs."
        expect(_truth(answer(ratio, advantage, clip)), bool(logprob.grad != 0), case)


@exercise("token_rewards")
def grade_token_rewards(answer: Callable) -> None:
    """Three tokens by hand, no price, one token, and the sum of a random answer."""
    came = _numbers(answer(4.0, [0.2, -0.4, 1.0], 0.5))
    slips = [
        ([0.1, -0.2, 4.5], "Distance is paid for: minus beta times k1."),
        ([3.9, 4.2, 3.5], "The score comes at the last token alone."),
        ([-0.1, 0.2, 4.0], "The last token pays for its distance as well."),
        ([0.0, 0.0, 3.6], "Each token pays for its own distance, where it stands."),
        ([-0.2, 0.4, 3.0], "The price is missing: beta times k1."),
        ([-0.1, 0.2, -0.5], "The score of the answer is missing, at the last token."),
        ([-0.1, -0.2, 3.5], "Where k1 is negative the token earns: no absolute value."),
        ([-0.1, 0.0, 3.5], "Where k1 is negative the token earns: nothing is cut off at 0."),
        ([3.9, 0.2, -0.5], "The score comes at the last token, not at the first."),
    ]
    expect(came, [-0.1, 0.2, 3.5], likely_slip(came, slips, "The last one is 4 - 0.5 x 1."))
    came = _numbers(answer(1.0, [3.0, 3.0], 0.0))
    expect(came, [0.0, 1.0], "With beta = 0 nothing is left but the score, at the last token alone.")
    expect(_numbers(answer(1.0, [2.0], 0.25)), [0.5], "An answer of one token: it has the score and pays.")
    generator = torch.Generator().manual_seed(0)
    k1 = torch.randn(9, generator=generator).tolist()
    came = _numbers(answer(0.7, list(k1), 0.3))
    expect(came, [-0.3 * k for k in k1[:-1]] + [0.7 - 0.3 * k1[-1]], "For a longer answer it differs.")


@exercise("token_advantages")
def grade_token_advantages(answer: Callable) -> None:
    """Three tokens and padding by hand, both ends of lam, and the library on random rows with holes."""
    rewards, values, mask = [0.0, 0.0, 1.0, 9.0], [0.5, 0.25, 0.75, 9.0], [1, 1, 1, 0]
    came = _numbers(answer(list(rewards), list(values), list(mask), 1.0, 0.5))
    deltas = [-0.25, 0.5, 0.25]
    slips = [
        ([-0.25, 0.5, 0.25, 0.0], "lam is missing: an advantage adds lam times the one behind it."),
        ([0.5, 0.75, 0.25, 0.0], "That is lam = 1; here it is 0.5."),
        ([1.1875, 2.875, 4.75, 0.0], "The value behind the last token is 0: nothing is expected after the end."),
        ([2.3125, 5.125, 9.25, 0.0], "The value behind the last token is 0: nothing is expected after the end."),
        ([0.0625, 0.625, 0.25, 9.0], "Where the mask is 0, the advantage is 0."),
        ([0.0625, 0.625, 0.25, 0.0][::-1], "The list is turned round: it goes from the first token to the last."),
        ([-0.25, 0.375, 0.4375, 0.0], "Backwards: surprises of later tokens count for earlier ones, not the reverse."),
        ([0.5625, 0.875, 1.0, 0.0], "These are returns: advantage + value. The advantage alone is asked for."),
        ([0.0625, 0.625, 0.25], "One number for each place, the padding too: 0.0."),
    ]
    right = [0.0625, 0.625, 0.25, 0.0]
    expect(came, right, likely_slip(came, slips, f"The surprises are {deltas}; from behind: A = delta + 0.5 A."))
    came = _numbers(answer([0.0, 1.0], [0.5, 0.5], [1, 1], 0.5, 0.5))
    slips = [
        ([0.25, 0.5], "gamma is missing."),
        ([0.125, 0.5], "gamma is missing at the value behind the token."),
        ([0.0, 0.5], "The advantage behind counts gamma times lam, not lam alone."),
    ]
    expect(came, [-0.125, 0.5], likely_slip(came, slips, "The first surprise is 0 + 0.5 x 0.5 - 0.5."))
    generator = torch.Generator().manual_seed(0)
    for _ in range(10):
        r, v = torch.randn(2, 1, 7, generator=generator)
        real = (torch.rand(1, 7, generator=generator) < 0.7).float()
        right = gae(r, v, real, 0.9, 0.8)[0][0].tolist()
        came = _numbers(answer(r[0].tolist(), v[0].tolist(), [int(m) for m in real[0].tolist()], 0.9, 0.8))
        case = f"With the mask {[int(m) for m in real[0].tolist()]} it differs: what it leaves out is passed over."
        expect(came, right, case)


def _numbers(came) -> list[float]:
    came = came.tolist() if isinstance(came, torch.Tensor) else came
    if not isinstance(came, list | tuple):
        raise Wrong(f"it gave {came!r} where a list of numbers was expected.")
    return [float(value) for value in came]


def _truth(came) -> bool:
    if isinstance(came, torch.Tensor) and came.numel() == 1:
        came = came.item()
    if not isinstance(came, bool):
        raise Wrong(f"it gave {came!r} where True or False was expected.")
    return came
