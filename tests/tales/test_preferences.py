"""Preferences: the truth beside each pair is the truth, and its label has just the noise and the fondness it should."""

import math
from collections import Counter

import pytest

from minillm import tales
from minillm.tales import BIASES, FLIPPED, TEMPERATURE, chance_of_choice
from minillm.tales.preferences import SIDES

FONDNESS = {"train": True, "valid": True, "test": False}


def utility(pair, which, fond):
    """What the people see in a letter."""
    features = pair[f"{which}_features"]
    return pair[f"{which}_score"] + fond * (0.02 * features["length"] + 0.4 * features["flattery"])


def falls_as_it_should(labels, chances, sigmas=3.5):
    """Whether so many labels are true as there should be, by their chances, within some standard deviations."""
    spread = math.sqrt(sum(chance * (1 - chance) for chance in chances))
    return abs(sum(labels) - sum(chances)) < sigmas * spread


@pytest.mark.parametrize("split", FONDNESS)
def test_the_truth_beside_a_pair_is_found_again_from_its_texts(records, split):
    for pair in records(f"preferences_{split}")[:300]:
        assert list(pair)[:3] == ["prompt", "chosen", "rejected"] and all(
            isinstance(pair[key], str) for key in list(pair)[:3]
        )
        for which in SIDES:
            score = tales.score_letter(pair["prompt"], pair[which])
            assert pair[f"{which}_score"] == score.score
            assert pair[f"{which}_features"] == {"length": len(pair[which].split()), "flattery": score.flattery}
        assert pair["chosen_score"] != pair["rejected_score"]


@pytest.mark.parametrize(("split", "fond"), FONDNESS.items())
def test_the_labels_fall_by_the_stated_chances_for_small_differences_and_large(records, split, fond):
    pairs = records(f"preferences_{split}")
    groups: dict[int, list[tuple[bool, float]]] = {}
    for pair in pairs:
        chosen, rejected = (utility(pair, which, fond) for which in SIDES)
        likes = 1 / (1 + math.exp(-abs(chosen - rejected) / TEMPERATURE))
        chance = likes * (1 - FLIPPED) + (1 - likes) * FLIPPED
        groups.setdefault(min(int(abs(chosen - rejected)), 3), []).append((chosen >= rejected, chance))
    assert len(groups) == 4
    for group in groups.values():
        labels, chances = zip(*group)
        assert falls_as_it_should(labels, chances)
    right = sum(pair["chosen_score"] > pair["rejected_score"] for pair in pairs) / len(pairs)
    if not fond:
        assert right == pytest.approx(tales.best_accuracy(pairs), abs=3 * (0.25 / len(pairs)) ** 0.5)


def test_people_who_are_not_asked_are_not_fond_in_the_labels_of_the_test(records):
    """Held against the wrong model of the people, the labels do not fit."""
    for split, fond in (("train", False), ("test", True)):
        pairs = records(f"preferences_{split}")
        longer = [pair for pair in pairs if pair["chosen_features"]["length"] != pair["rejected_features"]["length"]]
        by_length = []
        for pair in longer:
            wider, other = sorted(SIDES, key=lambda which: -pair[f"{which}_features"]["length"])
            chance = chance_of_choice(utility(pair, wider, fond), utility(pair, other, fond))
            by_length.append((wider == "chosen", chance))
        assert not falls_as_it_should(*zip(*by_length))


@pytest.mark.parametrize("split", FONDNESS)
def test_the_better_letter_is_as_often_the_longer_one_and_has_more_flattery_as_often_as_less(records, split):
    cells = Counter()
    for pair in records(f"preferences_{split}"):
        better, worse = sorted(SIDES, key=lambda which: -pair[f"{which}_score"])
        more = {name: pair[f"{better}_features"][name] - pair[f"{worse}_features"][name] for name in BIASES}
        cells[more["length"] > 0, (more["flattery"] > 0) - (more["flattery"] < 0)] += 1
        assert more["length"] != 0
    n = sum(cells.values())
    assert cells == {(longer, more): n // (4 if more == 0 else 8) for longer in (True, False) for more in (-1, 0, 1)}


def share_of_chosen_with_more(pairs, feature):
    """(share, number) of the pairs that differ in a feature in which the chosen letter has more."""
    differences = [pair["chosen_features"][feature] - pair["rejected_features"][feature] for pair in pairs]
    return sum(difference > 0 for difference in differences) / sum(map(bool, differences)), sum(map(bool, differences))


@pytest.mark.parametrize("feature", BIASES)
def test_length_and_flattery_go_with_being_chosen_in_training_and_not_in_the_test(records, feature):
    share, n = share_of_chosen_with_more(records("preferences_train"), feature)
    assert share > 0.5 + 4 * (0.25 / n) ** 0.5 and share < 0.75
    share, n = share_of_chosen_with_more(records("preferences_test"), feature)
    assert abs(share - 0.5) < 2.5 * (0.25 / n) ** 0.5


def test_a_chance_is_a_probability_that_falls_the_other_way_with_the_rest():
    for chosen, rejected in ((0.0, 0.0), (1.0, -2.0), (-3.0, 3.0), (0.3, 0.2)):
        assert chance_of_choice(chosen, rejected) + chance_of_choice(rejected, chosen) == pytest.approx(1)
    assert chance_of_choice(0.0, 0.0) == 0.5
    assert chance_of_choice(60.0, 0.0) == pytest.approx(1 - FLIPPED)
    assert round(chance_of_choice(3.0, 1.0), 3) == 0.949


def test_the_best_accuracy_is_that_of_whoever_knows_the_utilities():
    def pair(chosen, rejected, longer=0):
        features = {"chosen_features": {"length": 10 + longer, "flattery": 0}}
        features |= {"rejected_features": {"length": 10, "flattery": 0}}
        return {"chosen_score": chosen, "rejected_score": rejected} | features

    assert tales.best_accuracy([pair(1.0, 1.0)]) == 0.5
    for one in (pair(3.0, 1.0), pair(1.0, 3.0)):
        assert tales.best_accuracy([one]) == pytest.approx(chance_of_choice(3.0, 1.0))
    both = tales.best_accuracy([pair(1.0, 1.0), pair(1.0, 3.0)])
    assert both == pytest.approx((0.5 + chance_of_choice(3.0, 1.0)) / 2)
    longer = pair(1.0, 1.0, longer=20)
    assert tales.best_accuracy([longer]) == 0.5
    assert tales.best_accuracy([longer], biased=True) == pytest.approx(chance_of_choice(0.4, 0.0))
    worse = pair(1.0, 1.2, longer=20)
    assert tales.best_accuracy([worse]) == pytest.approx(chance_of_choice(1.2, 1.0))
    assert tales.best_accuracy([worse], taken_for_biased=True) == pytest.approx(chance_of_choice(1.0, 1.2))


def test_the_first_pairs_of_many_are_those_of_few():
    assert tales.make_preferences(12, seed=5)[:5] == tales.make_preferences(5, seed=5)
    assert tales.make_preferences(2, seed=5) != tales.make_preferences(2, seed=6)
