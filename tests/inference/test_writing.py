"""Texts while they grow: the pieces add up to the text, and nothing that was shown is taken back."""

import pytest
import torch

from minillm.inference import writing
from minillm.inference.writing import TextStream, write
from minillm.models import Decoder, ModelConfig
from minillm.text import Tokenizer

BYTES = Tokenizer.train("", 300)


def shown(text, stop=(), end=True):
    """What is shown after each byte of a text, and how many bytes it took to end."""
    pieces, ids = [], [*BYTES.encode(text), *([BYTES.eos_id] if end else [])]
    stream = TextStream(BYTES, stop, pieces.append)
    for n in range(1, len(ids) + 1):
        assert all("\ufffd" not in piece for piece in pieces)
        if stream.put(ids[:n]):
            break
    stream.show_all(stream.cut(ids[:n]))
    return pieces, n


@pytest.mark.parametrize("text", ["abc", "é€😀 ü", "no\nend", "🇫🇷👩‍👩‍👧", ""])
def test_pieces_add_up_and_hold_whole_characters(text):
    pieces, _ = shown(text)
    assert "".join(pieces) == text and len(pieces) >= len(text.encode()) // 8


@pytest.mark.parametrize(
    "text, stop, expected",
    [
        ("one\ntwo", ["\n"], "one"),
        ("a</s b</s>c", ["</s>"], "a</s b"),
        ("ababac rest", ["abac"], "ab"),
        ("wait EN", ["END"], "wait EN"),
        ("x STOP y END", ["END", "STOP"], "x "),
        ("é€END", ["€E"], "é"),
    ],
)
def test_what_a_stop_string_may_begin_with_waits(text, stop, expected):
    pieces, read = shown(text, stop)
    assert "".join(pieces) == expected
    assert read <= len(text.encode()) + 1


def test_bytes_that_are_no_text_are_shown_in_the_end():
    pieces = []
    stream = TextStream(BYTES, (), pieces.append)
    ids = [*BYTES.encode("a"), BYTES.encode("é")[0], *BYTES.encode("b")]
    for n in range(1, 4):
        stream.put(ids[:n])
    assert "".join(pieces) == "a\ufffdb"


def test_what_is_shown_is_what_write_returns():
    torch.manual_seed(0)
    model = Decoder(ModelConfig(BYTES.vocab_size, 64, 1, 16, 2, recipe="llama"))
    for seed in range(4):
        pieces, generator = [], torch.Generator().manual_seed(seed)
        text = write(model, BYTES, ["Once"], 40, stop=["e"], generator=generator, show=pieces.append)[0]
        assert "".join(pieces) == text
        assert write(model, BYTES, ["Once"], 40, stop=["e"], generator=torch.Generator().manual_seed(seed)) == [text]
    with pytest.raises(ValueError, match="2 texts cannot be shown while they grow: give one prompt"):
        write(model, BYTES, ["a", "b"], 4, show=pieces.append)


def test_any_stop_id_ends_a_text(monkeypatch):
    torch.manual_seed(0)
    model, tokenizer = Decoder(ModelConfig(BYTES.vocab_size, 64, 1, 16, 2)), Tokenizer.train("", 300)
    new = [*BYTES.encode("ab"), BYTES.sep_id, *BYTES.encode("cd")]
    calls = {}

    def generated(model, prompts, length, temperature, top_k, top_p, stop, generator, **more):
        calls["stop"] = set(stop)
        return torch.cat((prompts, torch.tensor([new])), dim=1)

    monkeypatch.setattr(writing, "generate", generated)
    tokenizer.stop_ids = frozenset((tokenizer.eos_id, tokenizer.sep_id))
    assert write(model, tokenizer, ["x"]) == ["ab"] and calls["stop"] == {tokenizer.eos_id, tokenizer.sep_id}


def test_rows_that_fill_up_a_vocabulary_say_nothing():
    torch.manual_seed(0)
    model = Decoder(ModelConfig(BYTES.vocab_size + 300, context=32, layers=1, width=16, heads=2))
    generator = torch.Generator().manual_seed(0)
    (text,) = write(model, BYTES, ["ab"], 60, temperature=9.0, top_p=1.0, generator=generator)
    assert 0 < len(text) < 60
    for name in ("text_ids", "special_ids"):  # of all that can be decoded, nothing is left out
        assert all(BYTES.pieces([i]) for i in getattr(BYTES, name))
    assert len({*BYTES.text_ids, *BYTES.special_ids}) == BYTES.vocab_size
