"""The exact next token, held against `logprob`, against enumeration, and against what its definition says."""

import math
import random

import pytest
import torch

from minillm import tales
from minillm.inference import against_the_world, beside_the_world
from minillm.models import CountBigram, Decoder, ModelConfig
from minillm.tales import NextToken, divergence, entropy, ways_on
from minillm.tales.teller import END, Options, enumerate_texts
from minillm.text import Tokenizer

DOCUMENTS = {
    "tale": (tales.make_tales, {"tale": 9, "pattern": 1}),
    "pattern": (tales.make_patterns, {"tale": 9, "pattern": 1}),
    "clinic": (tales.make_clinic, {"clinic": 1}),
}
EVERYTHING = "".join(map(chr, range(32, 127))) + "\n"  # all that the world can say is made of


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train([tale.text for tale in tales.make_documents(300, 1)], 700)


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize("letters", [False, True])
def test_along_a_document_the_probabilities_multiply_to_its_own(kind, letters, tokenizer):
    make, kinds = DOCUMENTS[kind]
    documents = [one.text for one in make(3 if letters else 12, 5)]
    tokenizer = Tokenizer.characters(EVERYTHING) if letters else tokenizer
    world = NextToken(tokenizer, kinds)
    for text in documents:
        ids = [*tokenizer.encode(text), tokenizer.eos_id]
        chances = list(world.along(ids))
        assert all(abs(math.fsum(one.values()) - 1) < 1e-12 for one in chances)
        assert abs(math.fsum(math.log(one[i]) for one, i in zip(chances, ids)) - tales.logprob(text)) < 1e-12


def test_asked_out_of_order_it_says_the_same(tokenizer):
    ids = tokenizer.encode(tales.make_tales(1, 3)[0].text)
    along = list(NextToken(tokenizer).along(ids))
    places = random.Random(0).sample(range(len(ids)), 12)
    world = NextToken(tokenizer)
    for place in places:
        again = world.after(ids[:place])
        assert again.keys() == along[place].keys()
        assert all(abs(again[i] - along[place][i]) < 1e-14 for i in again)


def test_every_way_on_is_found_once():
    coin = Options([(1, "heads ", 0), (3, "tails ", 1)])
    crowd = Options([(2, "one", 0), (2, "two", 1), (1, "twelve", 2)])

    def program(teller):
        if teller.choose(coin):
            teller.choose(crowd)
        teller.say("and")
        teller.choose(coin)

    whole = dict(enumerate_texts(program))
    found = ways_on(program, "", lambda text: text.endswith(END))
    assert {text.removesuffix(END): round(weight, 12) for text, weight in found} == {
        text: round(weight, 12) for text, weight in whole.items()
    }
    assert len(found) == len(whole)
    begun = ways_on(program, "tails tw", lambda text: len(text) > 8)
    assert math.isclose(sum(math.exp(weight) for _, weight in begun), 3 / 4 * 3 / 5)
    assert ways_on(program, "tails x", lambda text: True) == []


def test_what_the_world_cannot_have_written_has_no_next_token(tokenizer):
    world = NextToken(tokenizer)
    ids = tokenizer.encode("Once there was a castle of gold")
    chances = list(world.along(ids))
    stop = next(place for place, (one, i) in enumerate(zip(chances, ids)) if i not in one)
    assert chances[stop] and not any(chances[stop + 1 :])
    assert world.after(ids) == {} and world.after([tokenizer.eos_id]) == {}
    assert world.after(tokenizer.encode("Ward")) == {}  # the clinic is a text of its own
    assert NextToken(tokenizer, {"clinic": 1}).after(tokenizer.encode("Ward"))
    text = tales.make_tales(1, 0)[0].text
    assert world.after(tokenizer.encode(text)) == {tokenizer.eos_id: 1.0}


def test_the_divergence_of_a_model_is_that_of_its_distribution():
    world, logits = {1: 0.25, 3: 0.75}, torch.randn(5, generator=torch.Generator().manual_seed(0)).double()
    p = torch.tensor([0.25, 0.75]).double()
    expected = torch.nn.functional.kl_div(logits.log_softmax(0)[[1, 3]], p, reduction="sum")
    assert abs(divergence(world, logits.log_softmax(0)) - float(expected)) < 1e-12
    assert abs(entropy(world) + float((p * p.log()).sum())) < 1e-12


def test_a_model_is_held_against_the_world_at_every_position(tokenizer):
    documents = [tale.text for tale in tales.make_tales(3, 9)]
    torch.manual_seed(0)
    model = Decoder(ModelConfig(tokenizer.vocab_size, context=60, layers=1, width=16, heads=2))
    found = beside_the_world(model, tokenizer, documents, NextToken(tokenizer))
    assert len(found) == 3 * 60  # as far as the context reaches
    row = torch.tensor([[tokenizer.bos_id, *tokenizer.encode(documents[1])][:60]])
    logprobs = model(row)[0].double().log_softmax(-1)
    one = next(one for one in found if one.document == 1 and one.place == 20)
    assert abs(one.divergence - divergence(one.world, logprobs[20])) < 1e-9
    scores = against_the_world(found, tokenizer, documents)
    assert scores["kl"] > 1 > scores["entropy"] > 0 and 0.9 < scores["impossible"] < 1
    assert len(scores["slips"]) == 5 and scores["slips"][0]["kl"] >= scores["slips"][1]["kl"]


def test_no_model_is_nearer_to_the_world_than_the_world():
    documents = [one.text for one in tales.make_patterns(30, 2)]
    tokenizer = Tokenizer.characters(EVERYTHING)
    rows = [[tokenizer.bos_id, *tokenizer.encode(text), tokenizer.eos_id] for text in documents]
    model = CountBigram(torch.tensor([i for row in rows for i in row]), tokenizer.vocab_size, smoothing=0.1)
    found = beside_the_world(model, tokenizer, documents[:3], NextToken(tokenizer))
    assert all(one.divergence > -1e-6 for one in found)  # Gibbs' inequality, in fp32
