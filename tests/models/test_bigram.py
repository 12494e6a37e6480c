"""The counted bigram against a dictionary, the learned one against the counted one."""

import math
from collections import Counter

import pytest
import torch

from minillm.data import IGNORE_INDEX
from minillm.inference import beam_search, write
from minillm.models import BigramLM, CountBigram, bigram_loss
from minillm.text import Tokenizer
from minillm.training import causal_lm_loss


def text(n=2000, V=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    table = torch.rand(V, V, generator=generator) ** 4
    ids = [0]
    for _ in range(n - 1):
        ids.append(int(torch.multinomial(table[ids[-1]], 1, generator=generator)))
    return torch.tensor(ids)


@pytest.mark.parametrize("smoothing", [0.0, 0.01, 1.0])
def test_probabilities_equal_counts_by_hand(smoothing):
    ids = text(300)
    pairs, singles = Counter(zip(ids[:-1].tolist(), ids[1:].tolist())), Counter(ids[:-1].tolist())
    table = CountBigram(ids, 12, smoothing)(torch.arange(12)[None]).exp()[0]
    for a in range(12):
        for b in range(12):
            expected = (pairs[a, b] + smoothing) / (singles[a] + 12 * smoothing)
            assert table[a, b].item() == pytest.approx(expected, abs=1e-6)
    torch.testing.assert_close(table.sum(1), torch.ones(12))


def test_pairs_are_scored_as_the_table_says_without_building_it():
    ids = text(100)
    model = CountBigram(ids[ids < 9], 12, smoothing=0.1)
    before, after = torch.meshgrid(torch.arange(12), torch.arange(12), indexing="ij")
    torch.testing.assert_close(model.logprobs(before, after), model(torch.arange(12)[None])[0])


def test_a_token_that_nothing_followed_predicts_all_tokens_alike():
    table = CountBigram(torch.tensor([0, 1, 2]), 4, smoothing=0)(torch.tensor([[2, 3]])).exp()
    assert table.flatten().tolist() == [0.25] * 8


def test_labels_to_ignore_are_not_counted():
    ids = torch.tensor([0, 1, 2, 0, 1])
    model = CountBigram(ids, 3, smoothing=0, targets=torch.tensor([1, IGNORE_INDEX, 0, 1]))
    assert model(torch.tensor([[1]])).exp().flatten().tolist() == pytest.approx([1 / 3] * 3)


class Corpus:
    """What `bigram_loss` asks of `data.Tokens`: the beginnings of documents, token 0, are not predicted."""

    def __init__(self, ids):
        self.ids = ids.int()

    def targets(self, start=0, stop=None):
        after = self.ids[1:][start:stop]
        return after.long().masked_fill(after == 0, IGNORE_INDEX)


@pytest.mark.parametrize("part", [1, 7, 10_000])  # tokens that are counted at a time
def test_the_loss_of_the_counted_bigram_equals_a_slow_loop_over_the_validation_text(part, monkeypatch):
    monkeypatch.setattr("minillm.models.bigram.PART", part)
    train, valid = text(400, seed=0), text(150, seed=1)
    follows, total, terms = Counter(), 0.0, 0
    for a, b in zip(train.tolist(), train[1:].tolist()):
        follows[a, b] += b != 0
    for a, b in zip(valid.tolist(), valid[1:].tolist()):
        if b != 0:
            after_a = sum(follows[a, c] for c in range(12))
            total -= math.log((follows[a, b] + 0.01) / (after_a + 0.01 * 12))
            terms += 1
    assert 0 < terms < 149
    assert bigram_loss(Corpus(train), Corpus(valid), 12) == pytest.approx(total / terms, rel=1e-6)


def test_the_learned_table_reaches_the_loss_of_the_counted_one():
    ids = text()
    model, counted = BigramLM(12), CountBigram(ids, 12, smoothing=0)
    assert causal_lm_loss(model(ids[None]), ids[None]).item() == pytest.approx(math.log(12))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        loss = causal_lm_loss(model(ids[None]), ids[None])
        loss.backward()
        optimizer.step()
    best = causal_lm_loss(counted(ids[None]), ids[None]).item()
    assert best <= loss.item() < best + 0.005


def test_negative_smoothing_is_refused():
    with pytest.raises(ValueError, match="smoothing is -1"):
        CountBigram(torch.tensor([0, 1]), 2, smoothing=-1)


def test_a_counted_bigram_can_be_asked_about_one_token_and_writes():
    tokenizer = Tokenizer.characters(["abab"])
    model = CountBigram(torch.tensor(tokenizer.encode("ababab")), len(tokenizer), smoothing=0)
    a, b = tokenizer.encode("ab")
    assert model(torch.tensor(a)).argmax() == b
    assert write(model, tokenizer, ["a"], max_new_tokens=3, temperature=0) == ["bab"]


def test_beam_search_works_without_a_cache_and_finds_the_likelier_text():
    model = CountBigram(torch.tensor([0, 1, 2, 0, 1, 2, 0, 2]), vocab_size=3, smoothing=0.01)
    ids, _ = beam_search(model, torch.tensor([[0]]), max_new_tokens=2, beams=3)
    assert ids.tolist() == [[0, 1, 2]]
