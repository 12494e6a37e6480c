"""The slips that people make in lesson 15 are wrong, each with its own message. (Its folded solutions are right.)"""

import re

import pytest

from minillm.course.exercises import grade


def right_prompt(pairs, query):
    return "\n".join([*(f"{word} : {answer}" for word, answer in pairs), f"{query} :"])


def right_belief(examples, relations, slip):
    share = {}
    for name, pairs in relations.items():
        share[name] = 1.0
        for word, answer in examples:
            share[name] *= 1 - slip if pairs.get(word) == answer else slip
    return normalised(share)


def normalised(share):
    return {name: value / sum(share.values()) for name, value in share.items()}


def right_calibrated(p, empty):
    q = [a / (sum(column) / len(empty)) for a, column in zip(p, zip(*empty))]
    return [x / sum(q) for x in q]


def right_score(ids, A):
    last, weights = {}, []
    for t, token in enumerate(ids):
        if token in last:
            weights.append(float(A[t][last[token] + 1]))
        last[token] = t
    return sum(weights) / len(weights) if weights else 0.0


def right_step(steps, accuracies, level, last):
    for i in range(len(accuracies) - last + 1):
        if all(a >= level for a in accuracies[i : i + last]):
            return steps[i]
    return None


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("prompt_of_pairs", right_prompt),
        ("belief_with_slips", right_belief),
        ("calibrated", right_calibrated),
        ("induction_score_of", right_score),
        ("takes_off", right_step),
    ],
)
def test_a_right_answer_is_right(name, answer):
    assert grade(name, answer).status == "right", grade(name, answer)


def only_the_last(examples, relations, slip):
    return right_belief(examples[-1:], relations, slip)


def average(examples, relations, slip):
    each = [right_belief([example], relations, slip) for example in examples] or [right_belief([], relations, slip)]
    return {name: sum(one[name] for one in each) / len(each) for name in relations}


def unknown_words_do_not_count(examples, relations, slip):
    share = {name: 1.0 for name in relations}
    for name, pairs in relations.items():
        for word, answer in examples:
            if word in pairs:
                share[name] *= 1 - slip if pairs[word] == answer else slip
    return normalised(share)


def without_normalising(examples, relations, slip):
    belief = right_belief(examples, relations, slip)
    return {name: value / 2 for name, value in belief.items()}


def mean_of_results(p, empty):
    each = [right_calibrated(p, [one]) for one in empty]
    return [sum(column) / len(each) for column in zip(*each)]


def mean_of_logarithms(p, empty):
    p_cf = [1.0] * len(p)
    for one in empty:
        p_cf = [a * b ** (1 / len(empty)) for a, b in zip(p_cf, one)]
    return right_calibrated(p, [p_cf])


def times(p, empty):
    q = [a * b for a, b in zip(p, empty[0])]
    return [x / sum(q) for x in q]


def upside_down(p, empty):
    q = [b / a for a, b in zip(p, empty[0])]
    return [x / sum(q) for x in q]


def first_occurrence(ids, A):
    weights = [float(A[t][ids.index(token) + 1]) for t, token in enumerate(ids) if token in ids[:t]]
    return sum(weights) / len(weights) if weights else 0.0


def over_all_tokens(ids, A):
    return right_score(ids, A) * sum(token in ids[:t] for t, token in enumerate(ids)) / len(ids)


def occurrence_itself(ids, A):
    return right_score(ids, [[0.0, *row] for row in A])


def transposed(ids, A):
    return right_score(ids, [list(column) for column in zip(*A)])


def neighbours_left_out(ids, A):
    last, weights = {}, []
    for t, token in enumerate(ids):
        if token in last and last[token] + 1 < t:
            weights.append(float(A[t][last[token] + 1]))
        last[token] = t
    return sum(weights) / len(weights) if weights else 0.0


def short_slices(steps, accuracies, level, last):
    for i in range(len(accuracies)):
        if all(a >= level for a in accuracies[i : i + last]):
            return steps[i]
    return None


def end_of_the_row(steps, accuracies, level, last):
    for i in range(len(accuracies) - last + 1):
        if all(a >= level for a in accuracies[i : i + last]):
            return steps[i + last - 1]
    return None


def until_the_end(steps, accuracies, level, last):
    for i in range(len(accuracies) - last + 1):
        if all(a >= level for a in accuracies[i:]):
            return steps[i]
    return None


def any_in_the_row(steps, accuracies, level, last):
    return next((step for step, a in zip(steps, accuracies) if a >= level), None)


WRONG = [
    # a prompt
    ("prompt_of_pairs", lambda p, q: right_prompt(p, q) + " ", "the space belongs to the answer"),
    ("prompt_of_pairs", lambda p, q: right_prompt(p, q) + "\n", "the line is over"),
    ("prompt_of_pairs", lambda p, q: right_prompt(p, q)[:-2], "colon of the last line"),
    ("prompt_of_pairs", lambda p, q: right_prompt(p, q).replace(" :", ":"), "both sides of the colon"),
    ("prompt_of_pairs", lambda p, q: right_prompt(p, q).replace("\n", " "), "line of its own"),
    ("prompt_of_pairs", lambda p, q: right_prompt(p, q).replace("\n", "\n\n"), "not an empty line"),
    ("prompt_of_pairs", lambda p, q: "\n".join(f"{w} : {a}" for w, a in p) + f"\n{q} :", "zero-shot"),
    ("prompt_of_pairs", lambda p, q: right_prompt(p[-1:], q), "all of them"),
    ("prompt_of_pairs", lambda p, q: right_prompt(sorted(p), q), "their order"),
    # belief with slips
    ("belief_with_slips", lambda e, r, s: right_belief(e, r, 1 - s), "gets 1 - slip"),
    (
        "belief_with_slips",
        lambda e, r, s: right_belief(e, r, 0.0) if e else right_belief(e, r, s),
        "does not settle it",
    ),
    ("belief_with_slips", without_normalising, "add up to 1"),
    ("belief_with_slips", only_the_last, "Multiply, do not"),
    ("belief_with_slips", average, "Multiply, do not"),
    ("belief_with_slips", unknown_words_do_not_count, "0.1 \\* 0.1 against"),
    ("belief_with_slips", lambda e, r, s: right_belief(e, r, 0.1), "slip that is given"),
    ("belief_with_slips", lambda e, r, s: max(right_belief(e, r, s).values()), "a dictionary"),
    # calibration
    ("calibrated", lambda p, e: [a / b for a, b in zip(p, e[0])], "divide by the sum"),
    ("calibrated", times, "That multiplies"),
    ("calibrated", upside_down, "upside down"),
    ("calibrated", lambda p, e: p, "Nothing has changed"),
    ("calibrated", lambda p, e: right_calibrated(p, e[:1]), "first the mean"),
    ("calibrated", mean_of_results, "first the mean"),
    ("calibrated", mean_of_logarithms, "first the mean"),
    ("calibrated", lambda p, e: 1.0, "a list of probabilities"),
    # an induction score
    ("induction_score_of", occurrence_itself, "the earlier occurrence itself"),
    ("induction_score_of", transposed, "the row is the token that looks"),
    ("induction_score_of", over_all_tokens, "mean over the tokens that occurred before"),
    ("induction_score_of", first_occurrence, "the latest earlier occurrence"),
    ("induction_score_of", neighbours_left_out, "looks at its own place"),
    ("induction_score_of", lambda ids, A: right_score(ids, A) or float("nan"), "nan"),
    # when a skill appears
    ("takes_off", lambda s, a, v, n: s[::-1][a[::-1].index(max(a))], "the first counts"),
    ("takes_off", any_in_the_row, "a single lucky one"),
    ("takes_off", short_slices, "cuts the row short"),
    ("takes_off", end_of_the_row, "that of its first measurement"),
    ("takes_off", until_the_end, "what follows does not matter|first counts"),
    ("takes_off", lambda s, a, v, n: s.index(right_step(s, a, v, n)), "the place in the list"),
]


@pytest.mark.parametrize(("name", "answer", "slip"), WRONG, ids=[f"{name}-{slip[:20]}" for name, _, slip in WRONG])
def test_a_slip_is_wrong_and_named(name, answer, slip):
    verdict = grade(name, answer)
    assert verdict.status == "wrong"
    assert re.search(slip, verdict.message), verdict.message
