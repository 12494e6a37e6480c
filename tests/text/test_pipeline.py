"""Tokenizers of other people: ids and texts equal to those of Hugging Face's `tokenizers`, on hostile text."""

import json
import os

import pytest
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
