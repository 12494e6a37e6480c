"""train_bpe against the plain loop, Hugging Face's trainer, tiktoken, and an example worked by hand."""

import json
import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import regex
import tiktoken
from hostile import HOSTILE
from hypothesis import given, settings
from hypothesis import strategies as st

from minillm.text import BYTES, Tokenizer, encode_plain, train_bpe, train_plain
from minillm.text.bpe import BYTE_ORDER, GPT2_PATTERN, Splitter
from minillm.text.engines import BytePairs

SHAKESPEARE = Path(__file__).parents[3] / "shared" / "data" / "tinyshakespeare.txt"
# After GPT-4's pattern, without what Python 3.10 lacks.
GPT4_LIKE = r"(?i:'s|'t|'ll)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def merged_tokens(ranks: dict[bytes, int]) -> list[bytes]:
    return list(ranks)[256:]


def test_the_worked_example_of_the_docstring():
    assert merged_tokens(train_bpe("low lower lowest", 259)) == [b"lo", b"low", b" low"]
    # Each word by itself, so that no space is in play: the table at the top of the module.
    assert merged_tokens(train_bpe(["low", "lower", "lowest"], 259)) == [b"lo", b"low", b"lowe"]


def test_the_bytes_come_first_and_the_rank_is_the_id():
    ranks = train_bpe("abab", 300)
    assert list(ranks.values()) == list(range(len(ranks)))
    assert list(ranks)[:256] == [bytes([b]) for b in range(256)]


def test_a_text_that_runs_out_of_pairs_gives_a_smaller_vocabulary():
    assert train_bpe("", 1000) == BYTES
    assert merged_tokens(train_bpe("a" * 8, 1000)) == [b"aa", b"aaaa", b"aaaaaaaa"]


def encode_fast(text: str, ranks: dict[bytes, int]) -> list[int]:
    """What tiktoken makes of it."""
    return BytePairs({rank: token for token, rank in ranks.items()}, {}, GPT2_PATTERN).encode(text)


def test_the_plain_loop_learns_the_example_worked_by_hand():
    for train in (train_plain, train_bpe):
        ranks = train("low lower lowest", 259)
        assert merged_tokens(ranks) == [b"lo", b"low", b" low"]
        assert [encode(" lower low", ranks) for encode in (encode_plain, encode_fast)] == [[258, 101, 114, 258]] * 2


REPEATS_AND_TIES = st.lists(st.text(alphabet="aab \n'sé1-", max_size=40), max_size=4)
WORDS = st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cn"]), max_size=12), max_size=6)


@settings(deadline=None, max_examples=150)
@given(REPEATS_AND_TIES | WORDS, st.integers(256, 300), st.text(alphabet="aab \n'sé1-", max_size=40))
def test_the_plain_loop_equals_the_fast_one_and_tiktoken(documents, vocab_size, unseen):
    ranks = train_plain(documents, vocab_size)
    assert train_bpe(documents, vocab_size) == ranks
    for text in (*documents, unseen):
        assert encode_plain(text, ranks) == encode_fast(text, ranks)


def test_the_plain_loop_equals_the_fast_one_and_tiktoken_on_hostile_text():
    ranks = train_plain(HOSTILE, 700)
    assert train_bpe(HOSTILE, 700) == ranks
    for text in [*HOSTILE, "\n".join(HOSTILE)]:
        assert encode_plain(text, ranks) == encode_fast(text, ranks)


def test_the_plain_loop_equals_the_fast_one_and_tiktoken_on_real_text():
    text = Path(__file__).read_text(encoding="utf-8")
    ranks = train_plain(text, 400)
    assert train_bpe(text, 400) == ranks
    tokenizer = Tokenizer.train(text, 400 + len(Tokenizer.characters("a").specials))
    assert encode_plain(text, ranks) == encode_fast(text, ranks) == tokenizer.encode(text)


def test_the_plain_loop_takes_another_pattern():
    text, pattern = "low lower low lower", r"(?s:.+)"
    ranks = train_plain(text, 300, pattern)
    assert b"low lower" in ranks and train_bpe(text, 300, pattern) == ranks
    assert encode_plain(text, ranks, pattern) == [ranks[text.encode()]]


def hugging_face_merges(texts: list[str], vocab_size: int) -> list[bytes]:
    tokenizers = pytest.importorskip("tokenizers")
    byte_level = tokenizers.pre_tokenizers.ByteLevel
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = byte_level(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=byte_level.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    printed = {character: b for b, character in zip(BYTE_ORDER, sorted(byte_level.alphabet()))}
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [bytes(printed[character] for character in left + right) for left, right in merges]


def test_learns_the_merges_of_hugging_face_on_documents_of_many_scripts():
    documents = HOSTILE + [Path(__file__).read_text(encoding="utf-8")] * 2
    assert merged_tokens(train_bpe(documents, 1200)) == hugging_face_merges(documents, 1200)


@pytest.mark.skipif(not SHAKESPEARE.exists(), reason="needs tinyshakespeare beside the repository")
def test_learns_the_merges_of_hugging_face_on_tinyshakespeare():
    text = SHAKESPEARE.read_text(encoding="utf-8")
    assert merged_tokens(train_bpe(text, 4096)) == hugging_face_merges([text], 4096)


def characters_of_every_block_in_context() -> str:
    code_points = [
        *range(0x3400),
        *range(0x3400, 0xD800, 97),
        *range(0xE000, 0x20000, 5),
        *range(0x20000, 0x110000, 997),
    ]
    return "".join(f"a{c}1 {c}{c}\n" for c in map(chr, code_points))


def assert_tiktoken_makes_these_words(words: list[str], text: str, pattern: str) -> None:
    """tiktoken never shows its words, but a word that is a token comes out whole. So make every word a token, and every
    two neighbours joined, which would come out instead if tiktoken did not cut where we did."""
    assert "".join(words) == text and "" not in words
    ranks = dict(BYTES)
    for first, second in zip(words, [*words[1:], ""]):
        ranks.setdefault(first.encode(), len(ranks))
        ranks.setdefault((first + second).encode(), len(ranks))
    encoding = tiktoken.Encoding("words", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    assert encoding.encode_ordinary(text) == [ranks[word.encode()] for word in words]


@pytest.mark.parametrize("pattern", [GPT2_PATTERN, GPT4_LIKE])
def test_text_is_split_exactly_as_tiktoken_splits_it(pattern):
    splitter = Splitter(pattern)
    for text in [*HOSTILE, "\n".join(HOSTILE)]:
        assert_tiktoken_makes_these_words(splitter.split(text), text, pattern)


def test_text_with_characters_of_every_block_is_split_exactly_as_tiktoken_splits_it():
    text = characters_of_every_block_in_context()
    assert_tiktoken_makes_these_words(Splitter(GPT2_PATTERN).split(text), text, GPT2_PATTERN)


@given(st.text())
def test_text_is_split_as_the_regex_package_splits_it(text):
    assigned = "".join(c for c in text if unicodedata.category(c) != "Cn")  # new characters: tables differ by their age
    assert Splitter(GPT2_PATTERN).split(assigned) == regex.findall(GPT2_PATTERN, assigned)


def test_merges_cross_neither_words_nor_documents():
    ranks = train_bpe(["xy", "xy", "x y", "x y"], 300)
    assert b"xy" in ranks and b" y" in ranks and b"x y" not in ranks
    assert b"xyxy" not in ranks
    assert b"xyxy" in train_bpe("xyxy", 300)


def test_text_may_be_one_string_a_list_or_a_generator():
    one = train_bpe("some text, some more", 280)
    assert one == train_bpe(["some text, some more"], 280) == train_bpe((t for t in ["some text, some more"]), 280)


def test_another_pattern_makes_other_words():
    assert b"low lower" in train_bpe("low lower low lower", 300, pattern=r"(?s:.+)")
    assert b"12" not in train_bpe("1212", 300, pattern=r"\d|\D+")


def test_training_is_the_same_in_every_process():
    code = (
        "from minillm.text.bpe import train_bpe as t; print(list(t(open(__import__('sys').argv[1]).read(), 700))[256:])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code, __file__],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONUTF8": "1"},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(outputs) == 1 and len(outputs.pop()) > 1000


def test_one_endless_word_is_no_trap():
    assert [len(token) for token in merged_tokens(train_bpe("a" * 2**17, 260))] == [2, 4, 8, 16]
    assert len(train_bpe("ACGT" * 20_000 + "GATTACA" * 10_000, 400)) > 256


def test_a_vocabulary_below_the_bytes_is_refused():
    with pytest.raises(ValueError, match="vocab_size is 255"):
        train_bpe("text", 255)


def test_a_pattern_with_a_capturing_group_is_refused():
    with pytest.raises(ValueError, match="capturing group"):
        train_bpe("text", 300, pattern=r"(\s+)|\S+")


def test_half_a_surrogate_pair_is_refused_with_its_place():
    with pytest.raises(ValueError, match=r"Character 3 .*U\+D83D"):
        train_bpe("abc\ud83d", 300)
