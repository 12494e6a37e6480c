"""Duplicates. Oracles: Jaccard by loops over tuples of words, all pairs compared, the binomial distribution."""

import doctest
import random
import re
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minillm.text import (
    bands_and_rows,
    candidate_pairs,
    collision_probability,
    dedup,
    estimated_jaccard,
    exact_duplicates,
    jaccard,
    near_duplicates,
    shingles,
    signatures,
)
from minillm.text.dedup import MERSENNE

VOCABULARY = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]


def make_documents(number: int, words: int, rng: random.Random) -> list[str]:
    return [" ".join(rng.choices(VOCABULARY, k=words)) for _ in range(number)]


def with_changes(document: str, changes: int, rng: random.Random) -> str:
    words = document.split()
    for at in rng.sample(range(len(words)), changes):
        words[at] = "changed"
    return " ".join(words)


def slow_shingles(text: str, width: int) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    if not words:
        return set()
    return {tuple(words[i : i + width]) for i in range(max(len(words) - width, 0) + 1)}


def slow_jaccard(a: str, b: str, width: int) -> float:
    one, other = slow_shingles(a, width), slow_shingles(b, width)
    return len(one & other) / len(one | other) if one | other else 0.0


texts = st.lists(st.text("ab ,", max_size=30), max_size=8)


@given(texts, st.integers(1, 4))
def test_jaccard_of_hashed_shingles_equals_the_slow_loop(documents, width):
    sets = shingles(documents, width)
    assert [len(one) for one in sets] == [len(slow_shingles(document, width)) for document in documents]
    for i, a in enumerate(documents):
        for j, b in enumerate(documents):
            assert jaccard(sets[i], sets[j]) == slow_jaccard(a, b, width)


def test_the_hash_functions_are_those_of_exact_integer_arithmetic():
    values = np.array([0, 1, 2, MERSENNE - 1, 123456789], dtype=np.uint64)
    rng = np.random.default_rng(5)
    a = rng.integers(1, MERSENNE, 64, dtype=np.uint64).tolist()
    b = rng.integers(0, MERSENNE, 64, dtype=np.uint64).tolist()
    expected = [min((a_k * x + b_k) % MERSENNE for x in values.tolist()) for a_k, b_k in zip(a, b)]
    assert signatures([values], 64, seed=5)[0].tolist() == expected


def test_the_estimate_is_unbiased_within_its_binomial_interval():
    rng = random.Random(0)
    originals = make_documents(300, 40, rng)
    copies = [with_changes(document, rng.randint(0, 6), rng) for document in originals]
    sets = shingles(originals + copies, width=3)
    signed = signatures(sets, 256, seed=1)
    exact = np.array([slow_jaccard(a, b, 3) for a, b in zip(originals, copies)])
    estimate = estimated_jaccard(signed[:300], signed[300:])
    deviation = np.sqrt(exact * (1 - exact) / 256)
    assert (estimate[exact == 1] == 1).all() and 0 < (exact == 1).sum() < 300
    z = (estimate - exact)[deviation > 0] / deviation[deviation > 0]
    assert np.abs(z).max() < 4.5  # one document
    assert abs(z.mean()) < 0.35  # all together; the hash functions are shared, so not 4 / sqrt(300)
    assert 0.8 < z.std() < 1.2


def test_the_estimate_is_unbiased_over_hash_functions():
    sets = shingles(["a b c d e f g h i j", "a b c d e f g x y z"], width=2)  # 6 shared of 12
    estimates = [float(estimated_jaccard(*signatures(sets, 64, seed))) for seed in range(400)]
    assert jaccard(*sets) == 0.5
    assert abs(np.mean(estimates) - 0.5) < 4 * (0.25 / (64 * 400)) ** 0.5
    assert abs(np.std(estimates) - (0.25 / 64) ** 0.5) < 0.01


def test_the_s_curve_is_the_share_of_pairs_that_meet_in_a_band():
    sets = shingles(["a b c d e f g h i j", "a b c d e f g x y z"], width=2)
    met = [len(candidate_pairs(signatures(sets, 20, seed), bands=4, rows=5)) for seed in range(1000)]
    expected = collision_probability(0.5, 4, 5)
    assert abs(np.mean(met) - expected) < 4 * (expected * (1 - expected) / 1000) ** 0.5


@given(st.floats(0.05, 1), st.integers(16, 256))
def test_bands_and_rows_meet_the_recall_with_as_many_rows_as_they_can(threshold, hashes):
    bands, rows = bands_and_rows(threshold, hashes, recall=0.9)
    assert bands * rows <= hashes
    assert rows == 1 or collision_probability(threshold, bands, rows) >= 0.9
    if rows < hashes:
        assert collision_probability(threshold, hashes // (rows + 1), rows + 1) < 0.9


def test_a_threshold_out_of_range_is_refused():
    for threshold in (0, -1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="choose one above 0 and at most 1"):
            near_duplicates(["a", "b"], threshold)


def test_planted_near_duplicates_are_found_and_nothing_else():
    rng = random.Random(3)
    originals = make_documents(1000, 80, rng)
    copies = [with_changes(document, rng.randint(0, 5), rng) for document in originals[:300]]
    documents = originals + copies
    truth = {1000 + i for i, copy in enumerate(copies) if slow_jaccard(originals[i], copy, 5) >= 0.7}
    found = near_duplicates(documents, threshold=0.7)
    flagged = {index for index, first in enumerate(found) if first != index}
    assert all(found[index] == index - 1000 for index in flagged)
    assert flagged <= truth  # precision 1: each pair is confirmed on the true sets
    assert 100 < len(truth) < 300 and len(truth & flagged) / len(truth) >= 0.98


def slow_clusters(documents: list[str], threshold: float, width: int) -> list[int]:
    first = list(range(len(documents)))
    for i in range(len(documents)):
        for j in range(i):
            if first[i] != first[j] and slow_jaccard(documents[i], documents[j], width) >= threshold:
                low, high = sorted((first[i], first[j]))
                first = [low if label == high else label for label in first]
    return first


def test_clusters_equal_those_of_comparing_all_pairs():
    rng = random.Random(4)
    documents = make_documents(30, 60, rng)
    for _ in range(90):  # copies of copies, so that clusters are chains
        documents.append(with_changes(rng.choice(documents), rng.choice([0, 1, 1, 12]), rng))
    order = rng.sample(documents, len(documents))
    assert near_duplicates(order, threshold=0.7) == slow_clusters(order, 0.7, 5)


@given(st.lists(st.sampled_from(["", " ", "!", "a", "A!", "a b", "a b c d e f", "a b c d e g", "b a"]), max_size=12))
def test_short_and_empty_documents_are_clustered_as_by_all_pairs(documents):
    assert near_duplicates(documents, threshold=1.0) == slow_clusters(documents, 1.0, 5)


def test_exact_duplicates_ignore_case_space_and_accent_coding_but_not_punctuation():
    assert exact_duplicates(["Caf\u00e9 au lait", "cafe\u0301  au\nLAIT ", "caf\u00e9 au lait!", "1 + 1", "1 - 1"]) == [
        0,
        0,
        2,
        3,
        4,
    ]


def test_results_depend_on_the_seed_alone():
    documents = make_documents(50, 30, random.Random(0))
    sets = shingles(documents)
    assert (signatures(sets, 64, 1) == signatures(shingles(documents), 64, 1)).all()
    assert (signatures(sets, 64, 1) != signatures(sets, 64, 2)).any()
    assert near_duplicates(documents, seed=1) == near_duplicates(documents, seed=1)


@pytest.mark.parametrize("changes", [0, 1, 2])
def test_many_copies_of_one_document_are_not_compared_pairwise(changes):
    rng = random.Random(0)
    base = make_documents(1, 60, rng)[0]
    documents = [with_changes(base, changes, rng) for _ in range(4000)]
    signed = signatures(shingles(documents), 128)
    assert len(candidate_pairs(signed, 18, 7)) <= 2 * 18 * len(documents)
    begin = time.perf_counter()
    near_duplicates(documents)
    assert time.perf_counter() - begin < 10  # 8 million pairs would take minutes


def test_a_large_corpus_takes_seconds():
    documents = make_documents(20_000, 100, random.Random(0))  # 400 characters each
    begin = time.perf_counter()
    assert near_duplicates(documents) == list(range(20_000))
    assert time.perf_counter() - begin < 20


def test_the_worked_examples_hold():
    assert doctest.testmod(dedup).failed == 0
