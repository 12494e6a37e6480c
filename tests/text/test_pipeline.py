"""Tokenizers of other people: ids and texts equal to those of Hugging Face's `tokenizers`, on hostile text."""

import json
import os
import random

import pytest
import tokenizers
from foreign_tokenizers import MAKERS, foreign
from hostile import HOSTILE, hostile_texts

from minillm.text.pipeline import Pipeline

TEXTS = int(os.environ.get("ATTACKS", 300))  # for each tokenizer
every = pytest.mark.parametrize("name", list(MAKERS))


def both(name: str):
    """Theirs, and ours from what theirs writes."""
    theirs = foreign(name)
    return theirs, Pipeline(json.loads(theirs.to_str()))


def texts_for(theirs, seed: int):
    names = [token.content for token in theirs.get_added_tokens_decoder().values()]
    return [*HOSTILE, *hostile_texts(TEXTS, seed, names)]


@every
def test_ids_and_texts_are_those_of_tokenizers(name):
    theirs, ours = both(name)
    for text in texts_for(theirs, 1):
        ids = theirs.encode(text, add_special_tokens=False).ids
        assert ours.encode(text, allow_special=True) == ids, repr(text)
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=False), repr(text)
        kept = [i for i in ids if i not in ours.specials.values()]
        assert ours.decode(kept) == theirs.decode(ids, skip_special_tokens=True), repr(text)


@every
def test_names_of_special_tokens_are_plain_text_and_other_added_tokens_count(name):
    theirs, ours = both(name)
    theirs.encode_special_tokens = True
    try:
        for text in texts_for(theirs, 2):
            assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids, repr(text)
    finally:
        theirs.encode_special_tokens = False


@pytest.mark.parametrize("whole_words", [False, True])
def test_lists_of_merges_that_nobody_learned_give_the_ids_of_tokenizers(whole_words):
    """Random lists over three letters, where tokens are made in several ways or never: few of them suit tiktoken."""
    draw, by_tiktoken = random.Random(whole_words), 0
    for _ in range(max(TEXTS, 300)):
        tokens, merges = list("abc"), []
        for _ in range(draw.randrange(1, 12)):
            a, b = draw.choice(tokens), draw.choice(tokens)
            if len(a + b) <= 6 and (a, b) not in merges:
                merges.append((a, b))
                tokens += [a + b] if a + b not in tokens else []
        if draw.random() < 0.2:
            draw.shuffle(merges)
        vocab = {token: i for i, token in enumerate(tokens)}
        theirs = tokenizers.Tokenizer(tokenizers.models.BPE(vocab, merges, ignore_merges=whole_words))
        theirs.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        theirs.decoder = tokenizers.decoders.ByteLevel()
        ours = Pipeline(json.loads(theirs.to_str()))
        by_tiktoken += "by_tiktoken" in ours._words.__qualname__
        for _ in range(20):
            text = "".join(draw.choices("abc", k=draw.randrange(1, 14)))
            assert ours.encode(text) == theirs.encode(text).ids, (text, merges)
    assert 0.1 < by_tiktoken / max(TEXTS, 300) < 0.9
