"""Learning what people want: reward models, PPO, DPO, AI feedback, over-optimisation."""

import math
from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import Axes, cells, chained, legend, signed, tokens


def sigmoid(x: float) -> float:
    """The logistic function."""
    return 1 / (1 + math.exp(-x))


@diagram
def reward_model(chosen: float = 1.2, rejected: float = 0.2) -> Canvas:
    """A reward model: a trunk with one number for a head, at the last token."""
    margin = chosen - rejected
    loss = -math.log(sigmoid(margin))
    c = Canvas(
        "A reward model: one number for a text",
        f"The same prompt with two answers goes through one trunk; a head reads the last token and gives {chosen:g} "
        f"for the chosen and {rejected:g} for the rejected answer. The loss is {loss:.3f}.",
    )
    top = c.y + 6
    for i, (name, value, fill) in enumerate((("chosen", chosen, "green"), ("rejected", rejected, "red"))):
        y = top + 48 * i
        row = tokens(c, y, ["prompt", name, "end"], ["sky", fill, "orange"], x=MARGIN, mono=False, high=26)
        trunk = c.box(172, y, 56, 26, "trunk", "blue")
        head = c.box(250, y, 50, 26, "head", "orange")
        c.arrow((row[-1].right, row[-1].cy), trunk.w_)
        c.arrow(trunk.e, head.w_)
        out = c.box(322, y, 64, 26, f"r = {signed(value, 1)}", "plain", bold=True)
        c.arrow(head.e, out.w_)
    c.text(200, top + 37, "the same weights", ink="muted")
    c.note(f"loss = −ln σ(r chosen − r rejected) = −ln σ({signed(margin, 1)}) = {loss:.3f}. The head reads the last "
           "token, at which a causal trunk has read everything")  # fmt: skip
    return c


@diagram
def bradley_terry(votes: tuple[int, int] = (2, 1)) -> Canvas:
    """Bradley and Terry: from votes to a difference of rewards, by the logistic curve."""
    share = votes[0] / sum(votes)
    margin = math.log(share / (1 - share))
    c = Canvas(
        "Bradley-Terry: from votes to rewards",
        f"A logistic curve of the probability that A is chosen over the difference of two rewards; {votes[0]} of "
        f"{sum(votes)} votes, {share:.2f}, means a difference of {margin:.3f}.",
    )
    axes = Axes(c, 44, c.y + 8, 310, 130, (-4, 4), (0, 1.08), "reward of A − reward of B", "P(A is chosen)")
    axes.curve(sigmoid, -4, 4)
    for level in (0.0, 0.5, 1.0):
        c.text(38, axes(-4, level)[1], f"{level:g}", anchor="end")
    x, y = axes(margin, share)
    c.line((axes.frame.x, y), (x, y), (x, axes.frame.bottom), dash=True)
    c.dot(x, y, 5, "red line")
    c.text(x + 10, y + 10, f"ln({votes[0]}/{votes[1]}) = {margin:.3f}", anchor="start", bold=True)
    c.text(axes.frame.x + 8, y - 10, f"{votes[0]} of {sum(votes)} votes", anchor="start")
    c.note("P(A over B) = σ(r_A − r_B). Only differences count: adding a constant to all rewards changes nothing")
    return c


@diagram
def reliability_bins(sure: Sequence[float] = (0.55, 0.65, 0.75, 0.85, 0.95), right: Sequence[float] = (
        0.55, 0.6, 0.68, 0.75, 0.82)) -> Canvas:  # fmt: skip
    """A reliability diagram: how sure, against how often right."""
    gap = sum(abs(a - b) for a, b in zip(sure, right)) / len(sure)
    c = Canvas(
        "Is 80 % sure right in 80 %?",
        f"Points of how often a model is right over how sure it is, beside a diagonal; mean distance {gap:.3f}. Points "
        "below the diagonal are over-confident.",
    )
    axes = Axes(c, 44, c.y + 8, 200, 150, (0.5, 1), (0.5, 1), "how sure", "how often right")
    c.line(axes(0.5, 0.5), axes(1, 1), dash=True, curve=True)
    points = [axes(a, b) for a, b in zip(sure, right)]
    c.line(*points, ink="blue line", thick=2, curve=True)
    for point in points:
        c.dot(*point, 4)
    for level in (0.5, 1.0):
        c.text(38, axes(0.5, level)[1], f"{level:g}", anchor="end")
    c.text(260, axes.frame.y + 20, "dashed:\ncalibrated", anchor="start")
    c.text(260, axes.frame.y + 66, "below it:\nover-confident", anchor="start")
    c.text(260, axes.frame.y + 112, f"mean distance\n{gap:.3f}", anchor="start", bold=True)
    return c


@diagram
def ppo_models() -> Canvas:
    """The four models of PPO: who samples, who judges, who learns."""
    c = Canvas(
        "PPO: four models, two of them learn",
        "A prompt goes to the policy, which samples an answer. The frozen reward model scores it, the frozen reference "
        "gives the KL penalty, the value model the baseline; from these come advantages that update policy and value.",
    )
    top = c.y + 6
    prompt = c.box(MARGIN, top + 10, 66, 26, "prompt", "sky")
    policy = c.box(116, top, 104, 46, "policy\nlearns", "orange", thick=2)
    answer = c.box(262, top + 10, 110, 26, "answer, sampled", "sky")
    c.arrow(prompt.e, policy.w_)
    c.arrow(policy.e, answer.w_)
    y = top + 96
    reference = c.box(MARGIN, y, 108, 44, "reference\nfrozen", "plain")
    reward = c.box(MARGIN + 132, y, 108, 44, "reward model\nfrozen", "plain")
    value = c.box(MARGIN + 264, y, 108, 44, "value\nlearns", "orange", thick=2)
    c.line(answer.s, (answer.cx, y - 26))
    c.line((reference.cx, y - 26), (value.cx, y - 26))
    for box in (reference, reward, value):
        c.arrow((box.cx, y - 26), box.n)
    out = c.box(MARGIN + 96, y + 88, 180, 28, "advantage of each token", "green")
    for box, label in ((reference, "KL penalty"), (reward, "reward"), (value, "baseline")):
        c.line(box.s, (box.cx, y + 68), (200, y + 68))
        c.text(box.cx, y + 57, label, opaque=True, ink="muted")
    c.arrow((200, y + 68), out.n)
    c.arrow(out.w_, (6, out.cy), (6, top + 56), (168, top + 56), policy.s, ink="red line", dash=True)
    c.arrow(out.e, (394, out.cy), (394, value.cy), value.e, ink="red line", dash=True)
    legend(c, [("orange", "learns"), ("plain", "frozen")])
    c.note("dashed: gradients. The reference is a copy of the policy as it was at the start")
    return c


@diagram
def ppo_clipping(epsilon: float = 0.2) -> Canvas:
    """PPO's clipped objective, for a good and for a bad token."""
    c = Canvas(
        "Clipping: a step earns only so much",
        f"Two curves of the objective over the ratio of new to old probability. For a positive advantage it is flat "
        f"above {1 + epsilon:g}, for a negative one flat below {1 - epsilon:g}.",
    )
    for i, (title, a) in enumerate((("advantage +1", 1), ("advantage −1", -1))):
        x = 36 + 192 * i
        c.text(x + 80, c.y + 8, title, bold=True)
        axes = Axes(c, x, c.y + 22, 160, 110, (0.5, 1.5), (0.3, 1.6) if a > 0 else (-1.7, -0.4))
        axes.curve(lambda r, a=a: a * r, 0.5, 1.5, "grey line", dash=True)
        axes.curve(lambda r, a=a: min(a * r, a * min(max(r, 1 - epsilon), 1 + epsilon)), 0.5, 1.5,
                   "blue line" if a > 0 else "red line")  # fmt: skip
        edge = 1 + a * epsilon
        at = axes(edge, a * edge)
        c.line(at, (at[0], axes.frame.bottom), dash=True)
        c.dot(*axes(1, a), 4, "ink")
        for ratio in sorted((1.0, edge)):
            c.text(axes(ratio, a)[0], axes.frame.bottom + 11, f"{ratio:g}")
        c.text((at[0] + (axes.frame.right if a > 0 else axes.frame.x)) / 2, at[1] + 14, "flat")
    c.note("below: ratio = new / old probability of a token, 1 at first. min(ratio · A, clip(ratio) · A): where it is "
           "flat the gradient is 0")  # fmt: skip
    return c


def gae(rewards: Sequence[float], values: Sequence[float], discount: float, smooth: float) -> list[float]:
    """Generalised advantage estimates (Schulman et al. 2016), backwards from the last token."""
    found, later = [], 0.0
    for t in reversed(range(len(rewards))):
        following = values[t + 1] if t + 1 < len(values) else 0.0
        later = rewards[t] + discount * following - values[t] + discount * smooth * later
        found.insert(0, later)
    return found


@diagram
def reward_to_tokens(
    words: Sequence[str] = ("You", "are", "kind", "<eos>"), kl: Sequence[float] = (0.1, 0.3, 0.2, 0.0),
    reward: float = 1.0, values: Sequence[float] = (0.4, 0.5, 0.3, 0.8), beta: float = 0.5, smooth: float = 0.95,
) -> Canvas:  # fmt: skip
    """From one reward at the end to an advantage for each token."""
    each = [-beta * k for k in kl]
    each[-1] += reward
    advantages = gae(each, values, 1.0, smooth)
    c = Canvas(
        "One reward at the end, an advantage for each token",
        f"Under the tokens of an answer stand their KL penalties, with the reward of {reward:g} added at the last; the "
        f"values; and the advantages, {', '.join(signed(a) for a in advantages)}.",
    )
    wide, left = 64, 106
    row = tokens(c, c.y + 6, words, "sky", x=left, width=wide - 4, mono=False)
    del row
    for i, (name, values_, fill) in enumerate((
        ("−β · KL, reward", each, "plain"), ("value V", values, "orange"), ("advantage", advantages, None),
    )):  # fmt: skip
        y = c.y + 40 + 34 * i
        c.text(MARGIN, y + 12, name, anchor="start", bold=i == 2)
        cells(c, left - 2, y, [values_], wide, 24, form=signed, fills=fill)
    c.note(f"δ = reward + V(next) − V; advantage = δ + {smooth:g} × the advantage of the next token (GAE). Above 0: "
           "better than expected")  # fmt: skip
    return c


@diagram
def dpo_models() -> Canvas:
    """The two models of DPO: a policy that learns and a frozen reference; no reward model."""
    c = Canvas(
        "DPO: two models, one learns",
        "A pair of a chosen and a rejected answer goes to the policy and to a frozen reference. Both give "
        "log-probabilities; their differences make the loss, whose gradient goes to the policy.",
    )
    top = c.y + 8
    pair = c.box(MARGIN, top + 28, 84, 58, "prompt,\nchosen,\nrejected", "sky")
    policy = c.box(142, top, 96, 46, "policy\nlearns", "orange", thick=2)
    reference = c.box(142, top + 70, 96, 46, "reference\nfrozen", "plain")
    loss = c.box(296, top + 30, 90, 54, "−ln σ(β h)", "red")
    for box, label in ((policy, "ln π"), (reference, "ln π ref")):
        c.arrow(pair.e, (120, pair.cy), (120, box.cy), box.w_)
        c.line(box.e, (272, box.cy), (272, loss.cy))
        c.text(280, box.cy, label, anchor="start")
    c.arrow((272, loss.cy), loss.w_)
    c.arrow((loss.cx, loss.bottom), (loss.cx, top + 132), (254, top + 132), (254, top + 34), (238, top + 34),
            ink="red line", dash=True)  # fmt: skip
    c.note("h = (ln π − ln π ref) of the chosen, less that of the rejected. No sampling, no reward model, no value; "
           "the reference can be asked once, before training")  # fmt: skip
    return c


@diagram
def dpo_loss(policy: tuple[float, float] = (-2.0, -1.6), reference: tuple[float, float] = (-2.5, -1.0),
             beta: float = 0.5) -> Canvas:  # fmt: skip
    """The DPO loss of one pair, by hand.

    Args:
        policy, reference: log-probabilities of the chosen and of the rejected answer.
    """
    moved = [p - r for p, r in zip(policy, reference)]
    h = moved[0] - moved[1]
    loss = -math.log(sigmoid(beta * h))
    c = Canvas(
        "The DPO loss of one pair",
        f"A table of log-probabilities. The chosen answer has moved by {moved[0]:.2f} from the reference, the rejected "
        f"by {moved[1]:.2f}; so h is {h:.2f} and the loss {loss:.3f}.",
    )
    for x, name in ((170, "ln π"), (250, "ln π ref"), (336, "moved")):
        c.text(x, c.y + 8, name, ink="muted")
    for i, (name, fill) in enumerate((("chosen", "green"), ("rejected", "red"))):
        y = c.y + 22 + 34 * i
        c.box(MARGIN, y, 96, 26, name, fill)
        c.text(170, y + 13, signed(policy[i]))
        c.text(210, y + 13, "−")
        c.text(250, y + 13, signed(reference[i]))
        c.text(292, y + 13, "=")
        c.box(306, y, 60, 26, signed(moved[i]), "orange", bold=True)
    y = c.y + 108
    for i, line in enumerate((
        f"h = {signed(moved[0])} − ({signed(moved[1])}) = {signed(h)}",
        f"loss = −ln σ({beta:g} × {signed(h)}) = {loss:.3f}",
        f"at the start h = 0 and the loss is ln 2 = {math.log(2):.3f}",
    )):  # fmt: skip
        c.text(MARGIN, y + 21 * i, line, anchor="start", bold=i == 1, ink="muted" if i == 2 else "ink")
    return c


@diagram
def one_stage_or_two() -> Canvas:
    """Why DPO needs no reward model: the best policy implies one."""
    c = Canvas(
        "Two stages, or one",
        "Above: preferences train a reward model, and PPO trains a policy on its rewards. Below: DPO trains the policy "
        "on the preferences directly.",
    )
    c.text(MARGIN, c.y + 8, "reward model, then PPO", anchor="start", bold=True)
    chained(c, c.y + 22, [("preferences", "sky"), ("reward\nmodel", "plain"), ("sample,\nscore, step", "grey"),
                        ("policy", "orange")], gap=20)  # fmt: skip
    y = c.y + 76
    c.text(MARGIN, y + 8, "DPO", anchor="start", bold=True)
    left, right = c.box(MARGIN, y + 22, 78, 36, "preferences", "sky"), c.box(308, y + 22, 78, 36, "policy", "orange")
    c.arrow(left.e, right.w_, label="one loss")
    c.note("the best policy for a reward r is π ∝ π ref · exp(r / β), so r = β ln(π / π ref) + a constant of the "
           "prompt, which cancels in a pair: the policy is the reward model")  # fmt: skip
    return c
