"""Who judges: AI feedback, best of n, over-optimisation, groups of answers, verified rewards, reasoning."""

import math
from collections.abc import Sequence

from minillm.report.diagrams.canvas import MARGIN, Canvas
from minillm.report.diagrams.registry import diagram
from minillm.report.diagrams.shapes import Axes, cells, legend, lying_bars, signed, tokens


@diagram
def rlaif_loop() -> Canvas:
    """RLAIF: a model with a constitution chooses in the place of people."""
    c = Canvas(
        "RLAIF: a model judges in the place of people",
        "A loop: the policy samples two answers, a judge model with written principles chooses one, the choice becomes "
        "a preference, and training on preferences changes the policy.",
    )
    top = c.y + 6
    policy = c.box(MARGIN, top + 8, 96, 40, "policy", "orange", thick=2)
    answers = c.box(152, top + 8, 96, 40, "two answers", "sky")
    judge = c.box(290, top + 8, 96, 40, "judge model\nfrozen", "plain")
    rules = c.box(290, top + 78, 96, 40, "principles\n(constitution)", "green")
    pair = c.box(152, top + 78, 96, 40, "chosen >\nrejected", "sky")
    train = c.box(MARGIN, top + 78, 96, 40, "DPO, or a\nreward model", "grey")
    c.arrow(policy.e, answers.w_)
    c.arrow(answers.e, judge.w_)
    c.arrow(rules.n, judge.s)
    c.arrow((judge.x + 10, judge.bottom), (judge.x + 10, 63 + top), (pair.cx, 63 + top), pair.n)
    c.arrow(pair.w_, train.e)
    c.arrow(train.n, policy.s, ink="red line", dash=True)
    c.note("RLHF is the same loop with people in the place of the judge. What the judge does not see, the policy does "
           "not learn")  # fmt: skip
    return c


@diagram
def goodhart(rise: float = 1.5, fall: float = 0.35) -> Canvas:
    """Over-optimisation: the proxy keeps rising, the truth turns (Gao et al. 2023)."""
    turn = rise / (2 * fall)
    c = Canvas(
        "Goodhart: the proxy rises, the truth turns",
        f"Two curves over the distance from the first policy. The proxy reward rises on; the true reward follows "
        f"d ({rise:g} − {fall:g} d), is highest at {turn:.2f}, and falls.",
    )
    far = 1.9 * turn
    top = rise * far * 0.62
    axes = Axes(c, 30, c.y + 6, 290, 140, (0, far), (0, top), "d = √KL", "reward")
    axes.curve(lambda d: rise * d - 0.4 * fall * d * d, 0, far, "red line", dash=True)
    axes.curve(lambda d: d * (rise - fall * d), 0, far)
    best = axes(turn, turn * (rise - fall * turn))
    c.line(best, (best[0], axes.frame.bottom), dash=True)
    c.dot(*best, 5)
    c.text(best[0], best[1] - 12, "stop here", bold=True)
    c.text(best[0] + 6, axes.frame.bottom - 10, f"d = {turn:.2f}", anchor="start")
    c.text(326, axes(far, min(top, rise * far - 0.4 * fall * far * far))[1], "proxy", anchor="start")
    c.text(326, axes(far, far * (rise - fall * far))[1], "truth", anchor="start")
    c.note("the true reward of best-of-n: d (α − β d), Gao et al. 2023. Only a measure that nobody optimises shows the "
           "turn")  # fmt: skip
    return c


@diagram
def best_of_n(scores: Sequence[float] = (0.3, 1.1, -0.4, 0.7)) -> Canvas:
    """Best of n: sample several answers, keep the one that the judge likes best."""
    n = len(scores)
    best = max(range(n), key=lambda i: scores[i])
    bound = math.log(n) - (n - 1) / n
    c = Canvas(
        f"Best of {n}: a judge and no training",
        f"The policy samples {n} answers, a judge scores them {', '.join(f'{s:g}' for s in scores)}, and the best, "
        f"{scores[best]:g}, is kept. The KL divergence is at most {bound:.3f} nats.",
    )
    top = c.y + 6
    middle = top + 15 * n
    prompt = c.box(MARGIN, middle - 20, 72, 36, "prompt,\npolicy", "orange")
    for i, score in enumerate(scores):
        y = top + 30 * i
        box = c.box(128, y, 92, 24, f"answer {i + 1}", "green" if i == best else "sky")
        c.line(prompt.e, (106, prompt.cy), (106, box.cy), box.w_)
        c.text(262, box.cy, signed(score, 1), bold=i == best)
    c.text(262, top + 30 * n + 4, "judge", ink="muted")
    out = c.box(308, top + 30 * best, 78, 24, "kept", "green")
    c.arrow((282, out.cy), out.w_)
    c.note(f"KL from the policy ≤ ln n − (n − 1)/n = {bound:.3f} nats, whoever judges; the price is {n} samples for "
           "each answer")  # fmt: skip
    return c


@diagram
def grpo_group(rewards: Sequence[float] = (1.0, 0.0, 0.0, 1.0, 0.0)) -> Canvas:
    """GRPO: the mean of a group of answers is the baseline."""
    n = len(rewards)
    mean = sum(rewards) / n
    spread = math.sqrt(sum((r - mean) ** 2 for r in rewards) / (n - 1))
    advantages = [(r - mean) / spread if spread else 0.0 for r in rewards]
    c = Canvas(
        "GRPO: the group is the baseline",
        f"{n} answers to one prompt with rewards {', '.join(f'{r:g}' for r in rewards)}; less their mean {mean:.2f} "
        f"and divided by their deviation {spread:.2f} they are advantages, {', '.join(signed(a) for a in advantages)}.",
    )
    wide, left = 290 / n, 96
    prompt = c.box(left, c.y + 4, 290, 24, "one prompt", "sky")
    rows = (("answer", [f"{i + 1}" for i in range(n)], "plain"), ("reward", [f"{r:g}" for r in rewards], "plain"))
    for i, (name, row, fill) in enumerate(rows):
        y = c.y + 52 + 30 * i
        c.text(MARGIN, y + 12, name, anchor="start", bold=True)
        boxes = cells(c, left, y, [row], wide, 24, fills=fill)[0]
        if i == 0:
            for box in boxes:
                c.arrow((box.cx, prompt.bottom), box.n)
    y = c.y + 120
    c.text(MARGIN, y + 12, "advantage", anchor="start", bold=True)
    cells(c, left, y, [advantages], wide, 24, form=signed)
    c.note(f"advantage = (reward − {mean:.2f}) / {spread:.2f}, the same for every token of an answer. No value model. "
           "If all rewards are alike, nothing is learned")  # fmt: skip
    return c


@diagram
def chain_of_thought(
    start: Sequence[str] = ("red", "blue", "green"), swaps: Sequence[tuple[int, int]] = ((0, 1), (1, 2))
) -> Canvas:
    """Step by step: the state is written after each swap, so each step is easy."""
    states = [list(start)]
    for a, b in swaps:
        after = list(states[-1])
        after[a], after[b] = after[b], after[a]
        states.append(after)
    c = Canvas(
        "Chain of thought: write the state after each step",
        f"Three boxes hold {', '.join(start)}. After each of {len(swaps)} swaps the new state is written down, until "
        f"{', '.join(states[-1])}.",
    )
    fills = {colour: fill for colour, fill in zip(start, ("red", "blue", "green", "orange", "pink", "sky"))}
    wide = 62
    for i, state in enumerate(states):
        y = c.y + 8 + 58 * i
        row = tokens(c, y, state, [fills[s] for s in state], x=MARGIN + 130, width=wide, gap=18, mono=False, high=24)
        c.text(MARGIN, y + 12, "at the start" if i == 0 else f"state {i}, written", anchor="start", bold=i > 0)
        if i < len(swaps):
            a, b = swaps[i]
            c.text(MARGIN, y + 41, f"swap {a + 1} and {b + 1}", anchor="start", ink="muted")
            for one, two in ((a, b), (b, a)):
                c.arrow((row[one].cx, y + 24), (row[two].cx, y + 58))
    c.note(f"answered at once, all {len(swaps)} swaps must be made inside one pass; written out, each step needs the "
           "line above alone")  # fmt: skip
    return c


@diagram
def process_or_outcome(steps: Sequence[bool] = (True, False, True)) -> Canvas:
    """Outcome reward looks at the answer, process reward at every step."""
    right = steps[-1]
    c = Canvas(
        "Reward the outcome, or each step",
        f"A row of {len(steps)} steps. The outcome reward gives {int(right)} at the end; the process reward gives "
        + ", ".join(str(int(s)) for s in steps) + " step by step.",
    )  # fmt: skip
    names = [*(f"step {i + 1}" for i in range(len(steps) - 1)), "answer"]
    left, wide = 100, 76
    row = tokens(
        c, c.y + 8, names, ["green" if s else "red" for s in steps], x=left, width=wide, gap=16, mono=False, high=26
    )
    for a, b in zip(row, row[1:]):
        c.arrow(a.e, b.w_)
    for i, (name, values) in enumerate((
        ("outcome", [None] * (len(steps) - 1) + [int(right)]), ("process", [int(s) for s in steps]),
    )):  # fmt: skip
        y = c.y + 54 + 28 * i
        c.text(MARGIN, y, name, anchor="start", bold=True)
        for box, value in zip(row, values):
            c.text(box.cx, y, "–" if value is None else str(value), bold=value is not None)
    legend(c, [("green", "right"), ("red", "wrong")])
    c.note("a right answer after a wrong step is luck; the outcome rewards it all the same, the process does not")
    return c


@diagram
def pass_at_k(chance: float = 0.3, ks: Sequence[int] = (1, 2, 4, 8, 16)) -> Canvas:
    """pass@k: the chance that at least one of k samples is right."""
    values = [1 - (1 - chance) ** k for k in ks]
    c = Canvas(
        "pass@k: at least one of k is right",
        f"Bars for a chance of {chance:g} per sample: "
        + ", ".join(f"k = {k}: {v:.3f}" for k, v in zip(ks, values)) + ".",
    )  # fmt: skip
    lying_bars(c, c.y + 8, values, [f"k = {k}" for k in ks], x=76, width=240, largest=1, forms="{:.3f}")
    c.note(f"1 − (1 − p)ᵏ with p = {chance:g}. Reinforcement often raises pass@1 and not pass@k: it makes likelier "
           "what the model could do already")  # fmt: skip
    return c
