"""Giant words in parts: the ids of tiktoken on every text, and of what it cannot take at once those of its merges."""

import random
import re

import pytest
import tiktoken
from hostile import HOSTILE

from minillm.text import Tokenizer, encode_plain, long_words, train_bpe
from minillm.text.bpe import GPT2_PATTERN
from minillm.text.long_words import LongWords

CL100K = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
UNITS = [
    "a",
    "ab",
    "abc",
    "aab",
    "1",
    "12",
    "'",
    "'s",
    "-",
    "!?",
    " ",
    "\n",
    " \n",
    "\t ",
    "\u3000",
    "\x1c",
    "é",
    "日本",
]
UNITS += ["e\u0301", "\ufdfa", "\U0001f469\u200d", "\U0001f600", "\u200d", "ß'", "aB", "_"]


@pytest.fixture
def tiny(monkeypatch):
    """Parts so short that every text is cut."""
    for name, size in (("PART", 24), ("AROUND", 12), ("DROPPED", 3)):
        monkeypatch.setattr(long_words, name, size)


def run_of(rng: random.Random) -> str:
    """A run of one unit, or of letters, or of anything."""
    how, length = rng.random(), rng.randrange(90)
    if how < 0.5:
        return rng.choice(UNITS) * length
    return "".join(
        rng.choices(rng.choice(["ab", "abcdefgh", "'s", "-!'", " \n\t", "日本語é", "".join(UNITS)]), k=length)
    )


def words_of(pattern: str, texts: list[str], size: int) -> LongWords:
    ranks = train_bpe(texts, size, pattern)
    encoding = tiktoken.Encoding("theirs", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return LongWords(encoding, pattern, {i: token for token, i in ranks.items()})


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, CL100K, O200K, r"\S+", r"[a-z ]+|[^a-z ]"])
@pytest.mark.parametrize("seed", range(4))
def test_a_text_in_parts_has_the_ids_that_tiktoken_gives_it_whole(tiny, pattern, seed):
    rng, in_parts = random.Random(seed), 0
    words = words_of(pattern, ["".join(run_of(rng) for _ in range(40))], rng.choice([258, 280, 400, 1000]))
    for _ in range(400):
        text = "".join(run_of(rng) for _ in range(rng.randrange(1, 6)))
        whole = words.encoding.encode_ordinary(text)
        assert words.encode(text) == whole, text
        in_parts += bool(words._cuts(text))
        if pattern == GPT2_PATTERN and rng.random() < 0.1:
            assert whole == encode_plain(text, {token: i for i, token in words.tokens.items()})
    assert in_parts > 20 or pattern in (r"\S+", r"[a-z ]+|[^a-z ]")


@pytest.mark.parametrize("unit", [unit for unit in UNITS if re.fullmatch(r"\w+|\s+|[^\w\s]+", unit)])
def test_giant_words_are_encoded_in_parts(unit, monkeypatch):
    words, lengths = words_of(GPT2_PATTERN, [*HOSTILE, "abcabc aaaaaaaa 1111 ---- ...", " " * 40 + "\n" * 20], 600), []
    word = (unit * 100_000)[:100_000]
    theirs = words.encoding.encode_ordinary

    def watched(text):
        lengths.append(len(text))
        return theirs(text)

    monkeypatch.setattr(words.encoding, "encode_ordinary", watched)
    assert words.encode(word) == theirs(word)
    in_parts = max(lengths) < 2 * long_words.PART + long_words.AROUND
    assert in_parts or unit == "\U0001f469\u200d"  # each of its tokens begins within a character


@pytest.mark.parametrize("blank", [" ", "\n", "\u00a0", " \t\n"])
@pytest.mark.parametrize("n", [199_999, 2_100_001])
@pytest.mark.parametrize("pattern", [GPT2_PATTERN, CL100K])
def test_a_million_blanks_have_the_ids_of_their_bytes(blank, n, pattern):
    """For tiktoken's regular expression they are too many; what merges its words is asked without it."""
    words = words_of(pattern, [*HOSTILE, blank * 300], 500)
    text = "a" + (blank * n)[:n] + "b"
    ids = words.encode(text)
    assert b"".join(words.tokens[i] for i in ids) == text.encode()
    if n < 200_000:
        assert ids == words.encoding.encode_ordinary(text)
    elif pattern == GPT2_PATTERN:
        last = len(text) - 2 if blank == " " else len(text) - 1
        pieces = ["a", text[1:last], *([" b"] if blank == " " else [])]
        assert (
            ids[: len(ids) - 2]
            == [i for piece in pieces for i in words.encoding._encode_single_piece(piece)][: len(ids) - 2]
        )


def test_a_tokenizer_s_giant_words_are_tiktoken_s(monkeypatch):
    tokenizer = Tokenizer.train(["the cat sat on the mat " * 20, "aaaaaaaa  --- " * 20], 400)
    theirs = tokenizer.engine._words.encoding
    text = "the cat " + "a" * 70_000 + " sat" + "-" * 50_000 + "\n\n" + "th" * 40_000 + "'s mat" + " " * 60_000 + "x"
    assert tokenizer.encode(text) == theirs.encode_ordinary(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text
