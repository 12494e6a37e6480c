"""Tokenizers of other people: ids and texts equal to those of Hugging Face's `tokenizers`, on hostile text."""

import json
import os
import random
import time

import pytest
import tokenizers
from foreign_tokenizers import MAKERS, foreign
from hostile import HOSTILE, hostile_texts
from tokenizers import normalizers, pre_tokenizers

from minillm.text.normalizers import normalizer as text_normalizer
from minillm.text.pipeline import Pipeline
from minillm.text.pre_tokenizers import Place, pre_tokenizer

TEXTS = int(os.environ.get("ATTACKS", 120))  # for each tokenizer
STEP = 1 if "ATTACKS" in os.environ else 17  # of the characters that are tried, how many are passed over
BEHAVIORS = ("isolated", "removed", "contiguous", "merged_with_previous", "merged_with_next")
every = pytest.mark.parametrize("name", list(MAKERS))


def both(name: str):
    """Theirs, and ours from what theirs writes."""
    theirs = foreign(name)
    return theirs, Pipeline(json.loads(theirs.to_str()))


def test_tiktoken_does_the_work_where_it_may():
    slow = {"deepseek", "bert", "bert with case", "bert with accents", "llama2", "llama2 lacking bytes"}
    slow |= {"mistral", "metaspace", "gemma"}
    assert {name for name in MAKERS if "by_tiktoken" not in both(name)[1]._words.__qualname__} == slow


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


@pytest.mark.parametrize(
    "normalizer",
    [
        *(getattr(normalizers, form)() for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")),
        *(normalizers.Strip(left, right) for left in (True, False) for right in (True, False)),
        normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents(), normalizers.Lowercase()]),
        normalizers.Replace("a", "bb"),
        normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
        normalizers.BertNormalizer(),
        normalizers.BertNormalizer(clean_text=False, strip_accents=True, lowercase=False),
    ],
    ids=str,
)
def test_normalised_texts_are_those_of_tokenizers(normalizer):
    ours = text_normalizer(json.loads(normalizer.__getstate__()))
    some = [chr(i) for i in [*range(0, 0xD800, STEP), *range(0xE000, 0x20000, STEP)]]
    texts = [*HOSTILE, *hostile_texts(TEXTS, 3), *some, *(f"a\u0345{character}\u0334" for character in some)]
    for text in texts:
        assert ours(text, True) == normalizer.normalize_str(text), repr(text)


@pytest.mark.parametrize(
    "cut",
    [
        *(pre_tokenizers.Split(pattern, behavior, invert) for behavior in BEHAVIORS for invert in (False, True)
          for pattern in ("a", tokenizers.Regex(r"\s+"), tokenizers.Regex(r"\p{L}+|\s+$|[a-z]?+x"))),
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.Whitespace(),
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.Punctuation(),
        *(pre_tokenizers.Metaspace("▁", scheme, split=False) for scheme in ("always", "first", "never")),
        *(pre_tokenizers.Metaspace("▁", scheme, split=True) for scheme in ("always", "first", "never")),
    ],
    ids=str,
)  # fmt: skip
def test_words_are_those_of_tokenizers(cut):
    ours = pre_tokenizer(json.loads(cut.__getstate__()))
    for text in [*HOSTILE, *hostile_texts(TEXTS, 4)]:
        words = [word for word, _ in cut.pre_tokenize_str(text) if word]
        assert [word for word in ours([text], Place()) if word] == words, repr(text)


@pytest.mark.attack
def test_time_grows_with_the_length_of_a_text_and_no_faster():
    for name in ("flags", "gpt2", "bert", "llama2", "deepseek", "metaspace"):
        ours = both(name)[1]
        for part in ("a", "é", " ", "▁", "\n", "\u0301", "中", "<mask>", " <mask>", "\x00"):
            seconds = []
            for size in (4_000, 32_000):
                start = time.process_time()
                ours.encode(part * size, allow_special=True)
                seconds.append(time.process_time() - start)
            assert seconds[1] < 24 * seconds[0] + 0.2, (name, part, seconds)


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
