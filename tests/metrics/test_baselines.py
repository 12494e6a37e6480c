"""The baselines: a bag of words against scikit-learn, and what it cannot know."""

import pytest
import torch

from minillm.metrics import BagOfWords, commonest_tags, majority, word_similarity, words_and_marks


def texts(n, seed):
    generator = torch.Generator().manual_seed(seed)
    words = "red blue green cat dog owl sings sleeps runs".split()
    picked = [[words[i] for i in torch.randint(9, (6,), generator=generator)] for _ in range(n)]
    return [" ".join(p) for p in picked], [int(p.count("cat") > 0) + int("owl" in p) for p in picked]


def test_the_bag_of_words_is_regularised_logistic_regression():
    linear_model = pytest.importorskip("sklearn.linear_model")
    feature_text = pytest.importorskip("sklearn.feature_extraction.text")
    x, y = texts(300, 0)
    ours = BagOfWords().fit(x, y, 3)
    vectors = feature_text.CountVectorizer(binary=True)
    # scikit-learn minimises the sum of the losses and |w|^2 / 2C: of the mean, that is |w|^2 / 2CN.
    theirs = linear_model.LogisticRegression(C=1 / (2 * 1e-3 * len(x)), max_iter=1000, tol=1e-8)
    theirs.fit(vectors.fit_transform(x), y)
    fresh, _ = texts(200, 1)
    agree = sum(a == b for a, b in zip(ours.predict(fresh), theirs.predict(vectors.transform(fresh))))
    assert agree >= 199


def test_a_pair_counts_words_by_their_text_and_order_is_lost():
    pairs = [("cat", "dog"), ("dog", "cat")] * 10
    bag = BagOfWords().fit(pairs, [0, 1] * 10, 2)
    assert bag.predict([("cat", "dog"), ("dog", "cat")]) == [0, 1]
    bag = BagOfWords().fit(["a saw b", "b saw a"] * 10, [0, 1] * 10, 2)
    assert len(set(bag.predict(["a saw b", "b saw a"]))) == 1


def test_nothing_known_is_no_error():
    assert BagOfWords().fit(["one", "two"], [0, 1], 2).predict(["three"]) in ([0], [1])


def test_the_commonest_of_everything():
    assert majority(["b", "a", "a", "b"]) == "a" and majority([1, 2, 2]) == 2
    assert commonest_tags([["I", "May"], ["May", "May"]], [["O", "B"], ["O", "O"]]) == {"I": "O", "May": "O"}


def test_word_similarity_is_the_cosine_of_weighted_bags():
    assert words_and_marks("It's Mira's.") == ["It", "'", "s", "Mira", "'", "s", "."]
    x = word_similarity(["red cat", "blue dog"], ["the red cat", "a blue dog"])
    assert x.shape == (2, 2) and x[0, 0] > x[0, 1] and x[1, 1] > x[1, 0]
    assert x[0, 1] == 0
