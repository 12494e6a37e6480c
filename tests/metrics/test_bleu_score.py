"""BLEU against sacrebleu on awkward text, by hand, and at the edges."""

import math
import random

import pytest
import torch
from awkward import pairs, text
from hostile import HOSTILE

from minillm.metrics import bleu, bleu_of, bleu_statistics, bootstrap_interval, sentence_bleu, tokenize_13a

SMOOTHINGS = [("exp", None), ("floor", None), ("floor", 0.03), ("add-k", None), ("add-k", 0.5), ("none", None)]


def assert_equal(ours, theirs, case):
    assert abs(ours.score - theirs.score) < 1e-9, case
    assert max(abs(a - b) for a, b in zip(ours.precisions, theirs.precisions, strict=True)) < 1e-9, case
    assert abs(ours.brevity_penalty - theirs.bp) < 1e-9, case
    assert (ours.candidate_length, ours.reference_length) == (theirs.sys_len, theirs.ref_len), case


@pytest.fixture(scope="module")
def BLEU():
    return pytest.importorskip("sacrebleu").BLEU


def test_tokens_are_sacrebleus_on_awkward_and_hostile_text():
    tokenizer = pytest.importorskip("sacrebleu.tokenizers.tokenizer_13a").Tokenizer13a()
    rng = random.Random(0)
    marks = "ab1é .,-&'\n\u00a0<skiped>"
    noise = ["".join(rng.choices(marks, k=rng.randrange(30))) for _ in range(4000)]
    for one in [*HOSTILE, *noise, *(text(rng) for _ in range(2000)), "&amp;quot; &quot -\n", "a<skip-\nped>b"]:
        assert list(tokenize_13a(one)) == tokenizer(one.rstrip()).split(), one


@pytest.mark.parametrize("smooth, value", SMOOTHINGS)
def test_sentences_have_sacrebleus_scores_under_every_smoothing(BLEU, smooth, value):
    theirs = BLEU(smooth_method=smooth, smooth_value=value, effective_order=True)
    for candidate, references in pairs(400, seed=1, several=3):
        ours = sentence_bleu(candidate, references, smooth, value)
        assert_equal(ours, theirs.sentence_score(candidate, references), (candidate, references))
    assert f"bleu-4|{theirs.get_signature()}".rpartition("|version:")[0] == ours.signature


@pytest.mark.parametrize("smooth, value", SMOOTHINGS)
@pytest.mark.parametrize("order", [2, 4])
def test_corpora_have_sacrebleus_scores_under_every_smoothing(BLEU, smooth, value, order):
    rng = random.Random(2)
    for seed in range(30):
        theirs = BLEU(smooth_method=smooth, smooth_value=value, max_ngram_order=order)
        corpus = pairs(rng.choice([1, 2, 5, 20]), seed, several=rng.choice([1, 4]))
        candidates, references = zip(*corpus)
        most = max(map(len, references))
        columns = [[own[k] if k < len(own) else None for own in references] for k in range(most)]
        ours = bleu(candidates, references, smooth, value, order)
        assert_equal(ours, theirs.corpus_score(candidates, columns), corpus)
        assert f"bleu-{order}|{theirs.get_signature()}".rpartition("|version:")[0] == ours.signature


def test_papinenis_example():
    # Papineni et al. (2002), example 2 and section 2.1.2: seven times the, of which a reference has two
    references = ["The cat is on the mat.", "There is a cat on the mat."]
    score = sentence_bleu("the the the the the the the.", references, smooth="none")
    assert score.precisions == (100 * 2 / 8, 0, 0, 0) and score.score == 0  # one "the" in lower case, and the point


def test_a_score_by_hand():
    score = bleu(["the cat sat on the mat"], ["the cat is on the mat today"], smooth="none", order=2)
    assert score.precisions == pytest.approx((100 * 5 / 6, 100 * 3 / 5))
    assert score.brevity_penalty == pytest.approx(math.exp(1 - 7 / 6))
    assert score.score == pytest.approx(100 * math.exp(1 - 7 / 6) * math.sqrt(5 / 6 * 3 / 5))
    assert score.signature == "bleu-2|nrefs:1|case:mixed|eff:no|tok:13a|smooth:none"


def test_frozen_scores_of_sacrebleu():
    fox = "The quick brown dog jumps on the log.", "The quick brown fox jumps over the lazy dog"
    assert bleu(fox[:1], fox[1:]).score == pytest.approx(21.10534063187263, abs=1e-9)
    dogs = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    first = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    second = ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."]
    assert bleu(dogs, list(zip(first, second))).score == pytest.approx(48.530827009929865, abs=1e-9)


def test_short_texts_show_what_smoothing_and_effective_order_do():
    assert sentence_bleu("a cat", "a cat").score == pytest.approx(100)  # nobody asked for three words
    assert bleu(["a cat"], ["a cat"]).score == 0  # no 3-grams, which smoothing cannot mend
    assert bleu(["one cat sat here"], ["a cat sat there"], smooth="none").score == 0
    assert bleu(["one cat sat here"], ["a cat sat there"]).score > 10
    for smooth, value in SMOOTHINGS:
        for function in (lambda c, r, *s: bleu([c], [r], *s), sentence_bleu):
            assert function("one two three four five", "six seven eight nine ten", smooth, value).score == 0
            assert function("", "a", smooth, value).score == function("a", "", smooth, value).score == 0
            assert function("", "", smooth, value).score == 0


def test_of_equally_close_references_the_shorter_counts():
    assert sentence_bleu("a b c d", ["a b c d e f", "a b"]).reference_length == 2
    assert sentence_bleu("a b c d", ["a b c d e", "a b"]).reference_length == 5


def test_more_references_never_lose_matches_and_order_does_not_matter():
    for candidate, references in pairs(200, seed=5, several=4):
        one, all_ = (bleu_statistics([candidate], [own])[0, 3:7] for own in (references[:1], references))
        assert (one <= all_).all()
        assert sentence_bleu(candidate, references)[:-1] == sentence_bleu(candidate, references[::-1])[:-1]


def test_a_corpus_is_the_sum_of_its_rows_and_can_be_drawn_again():
    candidates, references = zip(*pairs(80, seed=6, several=2))
    rows = bleu_statistics(candidates, references)
    assert rows.shape == (80, 11) and not rows.is_floating_point()
    assert bleu_of(rows) == bleu(candidates, references)
    half = torch.arange(40)
    assert bleu_of(rows[half]) == bleu(candidates[:40], references[:40])
    interval = bootstrap_interval(rows, samples=200, score=lambda rows: bleu_of(rows).score)
    assert interval.mean == bleu(candidates, references).score
    assert 0 < interval.low < interval.mean < interval.high < 100


def test_what_does_not_belong_together_is_refused():
    with pytest.raises(ValueError, match="for one text take sentence_bleu"):
        bleu("one text", "another")
    with pytest.raises(ValueError, match="2 candidates and 1 references"):
        bleu(["a", "b"], [["a", "b"]])
    with pytest.raises(ValueError, match="0 candidates and 0 references"):
        bleu([], [])
    with pytest.raises(ValueError, match="no reference for 'a'"):
        sentence_bleu("a", [])
    with pytest.raises(ValueError, match="no smoothing 'exponential': choose one of exp, floor, add-k, none"):
        bleu(["a"], ["a"], smooth="exponential")
    with pytest.raises(ValueError, match="'exp' takes no value"):
        sentence_bleu("a", "a", smooth_value=0.1)
    with pytest.raises(ValueError, match="'floor' adds a positive value, not 0"):
        sentence_bleu("a", "a", "floor", 0)
    with pytest.raises(ValueError, match="the order is 0"):
        bleu(["a"], ["a"], order=0)
