"""Examples: golden rows for each task, cutting as BERT cuts, words that keep their spaces, and the printed table."""

import pytest
import torch

from minillm.data import (
    IGNORE_INDEX,
    Frame,
    Padded,
    decoder_frame,
    encoder_frame,
    frame_of,
    mask_tokens,
    pair_example,
    show_example,
    tag_example,
    text_example,
)
from minillm.data.examples import word_pieces
from minillm.models import LSTMLM, Decoder, Encoder, LSTMConfig, ModelConfig
from minillm.text import Tokenizer

TOKENIZER = Tokenizer.train(["Mira has a kite. Owl has a lamp."] * 20, 300)
FRAME = Frame(1, 2, 3, True)


def test_golden_rows_of_one_text_and_of_two():
    assert text_example([5, 6], FRAME, 8) == {"input_ids": [1, 5, 6, 3], "cut": 0, "segment_ids": [0] * 4}
    assert text_example([5, 6, 7], FRAME._replace(segments=False), 4) == {"input_ids": [1, 5, 6, 3], "cut": 1}
    pair = pair_example([5, 6], [7], FRAME, 9)
    assert pair == {"input_ids": [1, 5, 6, 2, 7, 3], "cut": 0, "segment_ids": [0, 0, 0, 0, 1, 1]}
    assert pair_example([5, 6, 7, 8], [9], FRAME, 7)["input_ids"] == [1, 5, 6, 7, 2, 9, 3]


def test_frames_are_those_of_pre_training():
    assert encoder_frame(TOKENIZER)[:3] == (TOKENIZER.cls_id, TOKENIZER.sep_id, TOKENIZER.sep_id)
    assert decoder_frame(TOKENIZER) == (TOKENIZER.bos_id, TOKENIZER.sep_id, TOKENIZER.eos_id, False)


def test_the_frame_of_a_trunk_is_that_of_its_kind():
    size = {"vocab_size": 300, "context": 8, "layers": 1, "width": 8, "heads": 2}
    for segments in (0, 2):
        encoder = Encoder(ModelConfig(**size, segments=segments))
        assert frame_of(encoder, TOKENIZER) == encoder_frame(TOKENIZER, segments=segments > 0)
    for causal in (Decoder(ModelConfig(**size)), LSTMLM(LSTMConfig(300, 1, 8))):
        assert frame_of(causal, TOKENIZER) == decoder_frame(TOKENIZER)


def test_a_pair_is_cut_as_bert_cuts_it_one_token_at_a_time_from_the_longer():
    for n in range(9):
        for m in range(9):
            for room in range(1, 18):
                first, second = list(range(n)), list(range(100, 100 + m))
                example = pair_example(first, second, FRAME, room + 3)
                while len(first) + len(second) > room:
                    (first if len(first) >= len(second) else second).pop()
                assert example["input_ids"] == [1, *first, 2, *second, 3]
                assert example["cut"] == n + m - len(first) - len(second)


def test_a_context_without_room_is_refused():
    with pytest.raises(ValueError, match="a context of 3 tokens has no room"):
        pair_example([1], [2], FRAME, 3)


def test_words_get_the_tokens_that_they_have_in_a_text():
    for text in ('"Mira has a kite," said Owl. "Has Mira (the owl) a lamp?"', "Mira , Owl"):
        words = text.replace(",", " ,").replace(".", " .").replace("?", " ?").replace('"', ' " ').split()
        words = [piece for word in words for piece in ([word] if word[0] not in "(" else ["(", word[1:]])]
        words = [
            piece for word in words for piece in ([word[:-1], ")"] if word.endswith(")") and word != ")" else [word])
        ]
        joined = TOKENIZER.decode([i for ids in word_pieces(words, TOKENIZER) for i in ids])
        assert joined == text.replace(" ,", ",")


def test_a_tag_stands_on_the_first_token_of_its_word_or_on_all():
    words, tags = ["Miranda", "has", "."], [1, 0, 0]
    first = tag_example(words, tags, TOKENIZER, FRAME, 40)
    pieces = [len(ids) for ids in word_pieces(words, TOKENIZER)]
    assert pieces[0] > 1
    expected = [IGNORE_INDEX, 1, *[IGNORE_INDEX] * (pieces[0] - 1)]
    assert first["labels"][: pieces[0] + 1] == expected
    assert [label for label in first["labels"] if label != IGNORE_INDEX] == tags
    every = tag_example(words, tags, TOKENIZER, FRAME, 40, every_piece=True)
    assert every["labels"][1:-1] == [tag for tag, n in zip(tags, pieces) for _ in range(n)]
    short = tag_example(words, tags, TOKENIZER, FRAME, 4)
    assert len(short["labels"]) == len(short["input_ids"]) == 4 and short["cut"] == sum(pieces) - 2
    assert short["words"] == [-1, 0, 0, -1]
    with pytest.raises(ValueError):
        tag_example(words, tags[:2], TOKENIZER, FRAME, 40)


def test_the_table_shows_what_the_model_gets(capsys):
    examples = [text_example(TOKENIZER.encode("a kite"), encoder_frame(TOKENIZER), 20) | {"labels": 1}]
    examples.append(text_example(TOKENIZER.encode("Mira has a lamp"), encoder_frame(TOKENIZER), 20) | {"labels": 0})
    batch = next(iter(Padded(examples, TOKENIZER.pad_id, 2)))
    shown = show_example(TOKENIZER, batch, names=["sad", "happy"])
    assert capsys.readouterr().out == shown + "\n"
    lines = shown.split("\n")
    assert lines[0].split() == ["position", "token", "id", "mask", "segment"]
    assert lines[1].split() == ["0", "<|cls|>", str(TOKENIZER.cls_id), "1", "0"]
    assert lines[-2].split()[:2] == [".", "<|pad|>"] and lines[-1] == "label of the whole text: happy"
    inputs, labels = mask_tokens(batch["input_ids"], TOKENIZER, 1.0, torch.Generator().manual_seed(0))
    shown = show_example(TOKENIZER, batch | {"input_ids": inputs, "labels": labels}, row=1)
    assert shown.split("\n")[1].split()[3] == "." and "<|mask|>" in shown
