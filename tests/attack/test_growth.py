"""Attacks on text: time must grow with its length whatever stands in it, and no text may break the tokenizer.

Time is of the processor, the shortest of several (what else runs may add to it, and never takes from it), on n and on
4 n characters or documents, n so many that it can be measured: five times as long at most.
"""

import gc
import math
import random
import time

import pytest
import tiktoken

from minillm.data import Padded, pack
from minillm.text import (
    Tokenizer,
    clean,
    clean_corpus,
    encode_plain,
    exact_duplicates,
    near_duplicates,
    train_bpe,
    train_plain,
)
from minillm.text.bpe import GPT2_PATTERN, Splitter
from minillm.text.engines import BytePairs
from minillm.text.markup import strip_markup
from minillm.text.tokenizer import SPECIALS

pytestmark = pytest.mark.attack
MOST, LEAST_SECONDS = 5, 0.02


def letters(n, alphabet="abcdefgh"):
    return "".join(random.Random(n).choices(alphabet, k=n))


def words(n):
    """A text of n characters in which no word comes twice."""
    return " ".join(f"w{i:x}" for i in range(n // 7))


def repeated(unit, end=""):
    return lambda n: unit * (n // (len(unit) + len(end))) + end * (n // (len(unit) + len(end)))


TEXTS = {
    "one character": repeated("a"),
    "blanks": repeated(" "),
    "line feeds": repeated("\n"),
    "a digit": repeated("1"),
    "apostrophes": repeated("'"),
    "one giant word": letters,
    "unlike words": words,
    "marks": lambda n: "e" + "\u0301\u0323" * (n // 2),
    "half-width marks": repeated("\u0301\uff9e"),
    "ligatures": repeated("\ufdfa"),
    "joiners": repeated("\u200d"),
    "joined emoji": repeated("\U0001f469\u200d"),
    "every letter of Chinese": lambda n: "".join(chr(0x4E00 + i % 20_000) + "。" * (i % 7 == 0) for i in range(n)),
    "<": repeated("<"),
    "&": repeated("&"),
    "nested tags": repeated("<", "b>"),
    "open tags": repeated("<b a='"),
    "attributes": lambda n: "<b" + " checked" * (n // 8),
    "spaces in a tag": lambda n: "<b" + " " * n,
    "open comments": repeated("<!--"),
    "open scripts": repeated("<script>"),
    "open doctypes": repeated("<!doctype "),
    "ends of scripts": repeated("</script "),
    "escaped often": lambda n: "&" + "amp;" * (n // 4),
    "nested references": repeated("&#3", "8;"),
    "hidden references": repeated("&\u200b", "#8203;"),
    "wide brackets": repeated("\uff1c", "b\uff1e"),
}
TOKENIZER = Tokenizer.train(["the cat sat on the mat " * 20, "aaaaaaaa  <b>&amp; " * 20], 400)
CORPORA = {
    "all equal": lambda n: ["the same words in every one of the documents"] * n,
    "all alike": lambda n: [
        f"{i} the same words but for one at the beginning of every document here" for i in range(n)
    ],
    "chains": lambda n: [" ".join(f"w{i // 9 + k}" for k in range(40)) for i in range(n)],
    "all unlike": lambda n: [words(300) + f" {i}" for i in range(n)],
    "no words": lambda n: ["-- ?! --"] * n,
    "one document of unlike words": lambda n: [words(500 * n)],
    "one letter more in each": lambda n: [chr(0x4E00 + i % 30_000) * 3 for i in range(n)],
}


def seconds(work, given, times=3):
    taken = []
    gc.collect()
    gc.disable()  # it looks at all that there is, of other tests too
    try:
        for _ in range(times):
            begin = time.process_time()
            work(given)
            taken.append(time.process_time() - begin)
    finally:
        gc.enable()
    return min(taken)


def check(work, make, n, largest=500_000):
    """Four times as much takes at most MOST times as long.

    n grows until it takes long enough to be measured, or is the largest: then that counts as long enough.
    """
    work(make(n))  # patterns are compiled at first use
    while (taken := seconds(work, make(n), times=1)) < LEAST_SECONDS and n < largest:
        n = min(n * max(2, int(LEAST_SECONDS / max(taken, 1e-4))), largest)
    given = make(n), make(4 * n)
    small = large = math.inf
    for _ in range(8):  # a machine that is busy gets another try
        small, large = min(small, seconds(work, given[0])), min(large, seconds(work, given[1], times=1))
        if large <= MOST * max(small, LEAST_SECONDS):
            return
    raise AssertionError(f"{small:.3f} s for {n:,}, {large:.3f} s for {4 * n:,}")


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("work", [clean, strip_markup, lambda text: train_bpe(text, 300), TOKENIZER.encode])
def test_text_takes_time_as_its_length(work, name):
    check(work, TEXTS[name], 4000)


@pytest.mark.parametrize("name", TEXTS)
def test_a_hundred_thousand_characters_of_anything_are_clean_within_a_second_and_stay_so(name):
    text = TEXTS[name](100_000)[:100_000]
    assert seconds(clean, text) < 1
    cleaned = clean(text)
    assert clean(cleaned) == cleaned


@pytest.mark.parametrize("name", CORPORA)
@pytest.mark.parametrize(
    "work", [exact_duplicates, near_duplicates, clean_corpus, TOKENIZER.encode_batch, lambda some: train_bpe(some, 300)]
)
def test_corpora_take_time_as_their_size(work, name):
    def tried(documents):
        try:
            work(documents)
        except ValueError as error:  # nothing is left of documents that all say nothing
            assert "cleaning left none" in str(error)

    check(tried, CORPORA[name], 50, largest=10_000)


@pytest.mark.parametrize("sizes", [lambda i: 1 + i * 7919 % 250, lambda i: 250, lambda i: 1, lambda i: 129 - i % 3])
def test_packing_and_batches_take_time_as_many_examples(sizes):
    def examples(n):
        return [{"input_ids": [1] * sizes(i)} for i in range(n)]

    check(lambda some: pack(some, 256), examples, 1000, largest=2_000)
    check(lambda some: Padded(some, 0, 16, seed=1).order(1), examples, 1000, largest=2_000)


# Any text


def any_character(rng):
    plane = rng.choice([0x80, 0x800, 0x10000, 0x110000])
    code = rng.randrange(plane)
    return chr(code) if not 0xD800 <= code < 0xE000 else "\ufffd"


def any_text(rng):
    kinds = [
        lambda: "".join(any_character(rng) for _ in range(rng.randrange(12))),
        lambda: rng.choice(["\x00", "\x1b", "\x85", "\u2028", "\ufeff", "\u202e", "\U0010ffff"]) * rng.randrange(4),
        lambda: rng.choice([*SPECIALS, "<|endoftext|>", "<|", "|>", "<|eos|", "<|eos |>"]),
        lambda: rng.choice([" ", "\n", "\t", "\u00a0", "'s", "'LL", "e\u0301", "日", "1", "--"]) * rng.randrange(6),
    ]
    return "".join(rng.choice(kinds)() for _ in range(rng.randrange(8)))


@pytest.mark.parametrize("seed", range(8))
def test_any_text_comes_back_with_the_ids_of_tiktoken_and_of_the_plain_loop(seed):
    rng = random.Random(seed)
    ranks = train_bpe([any_text(rng) for _ in range(50)], 400)
    assert ranks == train_plain((any_text(rng) for rng in [random.Random(seed)] for _ in range(50)), 400)
    tokenizer = Tokenizer(BytePairs({i: t for t, i in ranks.items()}, extra(ranks), GPT2_PATTERN))
    theirs = tiktoken.Encoding("theirs", pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    for _ in range(100):
        text = any_text(rng)
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text and tokenizer.special_ids.isdisjoint(ids)
        assert ids == theirs.encode_ordinary(text) == encode_plain(text, ranks)
        assert "".join(Splitter(GPT2_PATTERN).split(text)) == text
        if text:
            characters = Tokenizer.characters(text)
            assert characters.decode(characters.encode(text)) == text


def extra(ranks):
    """Ids of special tokens behind those of a vocabulary."""
    return {name: len(ranks) + i for i, name in enumerate(SPECIALS)}


@pytest.mark.parametrize("seed", range(4))
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(seed):
    rng = random.Random(seed)
    for _ in range(50):
        before, half = any_text(rng), chr(rng.randrange(0xD800, 0xE000))
        for work in (TOKENIZER.encode, Tokenizer.characters, Splitter(GPT2_PATTERN).split, lambda t: train_bpe(t, 300)):
            with pytest.raises(ValueError, match=rf"Character {len(before)} of the text is half of a surrogate pair"):
                work(before + half + any_text(rng))
