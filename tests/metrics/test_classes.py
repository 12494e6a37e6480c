"""Scores of predictions against scikit-learn and scipy, and by hand."""

import math
import warnings

import pytest
import torch
from scipy import stats

from minillm import metrics


def labels(n, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(classes, (n,), generator=generator).tolist()


def test_scores_of_classes_equal_scikit_learns():
    theirs = pytest.importorskip("sklearn.metrics")
    for seed in range(20):
        a, b = labels(30, 4, seed), labels(30, 5, seed + 100)
        assert metrics.accuracy(a, b) == pytest.approx(theirs.accuracy_score(a, b))
        assert metrics.macro_f1(a, b) == pytest.approx(theirs.f1_score(a, b, average="macro", zero_division=0))
        assert metrics.confusion_matrix(a, b, 5) == theirs.confusion_matrix(a, b, labels=range(5)).tolist()
    with pytest.raises(ValueError, match="0 and 0 values"):
        metrics.accuracy([], [])


def test_rank_correlation_equals_scipys_with_ties():
    stats = pytest.importorskip("scipy.stats")
    for seed in range(20):
        a, b = labels(25, 6, seed), labels(25, 9, seed + 50)
        assert metrics.spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_entities_are_spans_of_one_kind():
    spans = metrics.entity_spans
    assert spans(["O", "B-A", "I-A", "I-B", "O", "I-A", "B-A"]) == {("A", 1, 3), ("B", 3, 4), ("A", 5, 6), ("A", 6, 7)}
    assert spans([]) == set() and spans(["O"]) == set()
    truth = [["B-A", "I-A", "O"], ["B-B", "O", "B-A"]]
    guess = [["B-A", "O", "O"], ["B-B", "O", "B-B"]]  # one of three found is right, of three there are
    assert metrics.entity_f1(truth, guess) == pytest.approx(1 / 3)
    assert metrics.entity_f1(truth, truth) == 1 and metrics.entity_f1([["O"]], [["O"]]) == 0
    with pytest.raises(ValueError, match="a text of 3 tags has 2"):
        metrics.entity_f1([["O"] * 3], [["O"] * 2])


def test_entity_f1_equals_a_slow_count():
    kinds = ["O", "B-A", "I-A", "B-B", "I-B"]

    def slow(tags):  # every pair of ends, asked one by one
        found = set()
        for start in range(len(tags)):
            for end in range(start + 1, len(tags) + 1):
                kind = tags[start][2:]
                begins = tags[start][0] == "B" or (
                    tags[start][0] == "I" and (start == 0 or tags[start - 1] == "O" or tags[start - 1][2:] != kind)
                )
                inside = all(tag == f"I-{kind}" for tag in tags[start + 1 : end])
                if begins and inside and (end == len(tags) or tags[end] != f"I-{kind}"):
                    found.add((kind, start, end))
        return found

    for seed in range(200):
        tags = [kinds[i] for i in labels(9, 5, seed)]
        assert metrics.entity_spans(tags) == slow(tags)


def test_recall_counts_a_tie_as_lost():
    similarity = torch.tensor([[0.9, 0.1, 0.2], [0.5, 0.5, 0.1], [0.8, 0.7, 0.6]])
    assert metrics.recall_at_k(similarity, 1) == pytest.approx(1 / 3)
    assert metrics.recall_at_k(similarity, 2) == pytest.approx(2 / 3)
    assert metrics.recall_at_k(similarity, 3) == 1


def slow_similarity_scores(similarity, labels):
    """Pair by pair: among all second texts, is the own one of a pair of the highest score among the k nearest?"""
    sought = [i for i, label in enumerate(labels) if label is None or label == max(labels)]
    scores = {}
    for k in (1, 5):
        found = 0
        for i in sought:
            nearer = [j for j in range(len(labels)) if j != i and similarity[i][j] >= similarity[i][i]]
            found += len(nearer) < k
        scores[f"recall_at_{k}"] = found / len(sought)
    if labels[0] is not None:
        scores["spearman"] = metrics.spearman([similarity[i][i] for i in range(len(labels))], labels)
    return scores


def test_scores_of_similarities_equal_a_slow_loop():
    for seed in range(30):
        generator = torch.Generator().manual_seed(seed)
        similarity = torch.randint(10, (12, 12), generator=generator) / 10 + 0.3 * torch.eye(12)  # full of ties
        for scores in ([None] * 12, [float(s) for s in labels(12, 4, seed)]):
            found = metrics.similarity_scores(similarity, scores)
            assert found == pytest.approx(slow_similarity_scores(similarity.tolist(), scores))


@pytest.mark.parametrize("first", [[1, math.nan, 2], [math.nan] * 3, [1, 2, 3]])
@pytest.mark.parametrize("second", [[1, 2, 3], [3, math.nan, 1], [2, 2, 2], [1, math.inf, 0]])
def test_rank_correlation_of_what_is_no_number_is_none_as_in_scipy(first, second):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scipy warns of constants
        expected = stats.spearmanr(first, second).statistic
    assert metrics.spearman(first, second) == pytest.approx(expected, nan_ok=True)


def test_vectors_that_are_no_numbers_find_nothing():
    similarity = torch.full((3, 3), math.nan)
    assert metrics.recall_at_k(similarity, 1) == metrics.recall_at_k(similarity, 2) == 0
    similarity = torch.tensor([[1.0, 0.0], [math.nan, math.nan]])
    assert metrics.recall_at_k(similarity, 1) == 0.5
