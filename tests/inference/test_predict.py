"""What a head says of a batch: the same as of each example alone, and a tag for each word."""

import pytest
import torch

from minillm.data import Padded, encoder_frame, tag_example, text_example
from minillm.inference import predict, tags_of
from minillm.models import Encoder, ModelConfig, SequenceClassifier, TokenClassifier
from minillm.system import Compute
from minillm.text import Tokenizer

TOKENIZER = Tokenizer.characters("abcdefgh ")
COMPUTE = Compute(torch.device("cpu"), torch.float32)
FRAME, CONTEXT, CLASSES = encoder_frame(TOKENIZER, segments=False), 24, 3
TEXTS = ["a", "bcd ef", "hgfedcba abcdef", "cc", "ab gh"]


def head(kind):
    torch.manual_seed(0)
    model = kind(Encoder(ModelConfig(TOKENIZER.vocab_size, context=CONTEXT, layers=2, width=32, heads=4)), CLASSES)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def examples():
    return [text_example(TOKENIZER.encode(text), FRAME, CONTEXT) for text in TEXTS]


@pytest.mark.parametrize("kind", [SequenceClassifier, TokenClassifier])
@pytest.mark.parametrize("batch_size", [2, 5])
def test_a_ragged_batch_says_in_order_and_without_padding_what_each_example_says_alone(kind, batch_size):
    model, rows = head(kind).train(), examples()
    together = predict(model, Padded(rows, TOKENIZER.pad_id, batch_size), COMPUTE)
    assert not model.training and len(together) == len(rows)
    for row, output in zip(rows, together):
        ids = torch.tensor([row["input_ids"]])
        alone = model(ids, torch.ones_like(ids))[0].detach()
        assert output.shape == ((CLASSES,) if kind is SequenceClassifier else (len(row["input_ids"]), CLASSES))
        torch.testing.assert_close(output, alone, atol=1e-5, rtol=1e-5)


def test_of_no_examples_nothing_is_said():
    assert predict(head(SequenceClassifier), [], COMPUTE) == []


def test_a_tag_is_read_at_the_first_token_of_its_word_and_words_that_were_cut_are_o():
    names = ["O", "B", "I"]
    words = ["ab", "c", "def", "gh"]
    whole = tag_example(words, [1, 0, 2, 1], TOKENIZER, FRAME, 64)
    first = {place: index for index, place in reversed(list(enumerate(whole["words"])))}
    logits = torch.zeros(len(whole["words"]), 3)
    logits[:, 2] = 1.0  # what every other token would say
    for place, guess in enumerate([1, 0, 1, 0]):
        logits[first[place], guess] = 2.0
    assert tags_of(logits, whole, len(words), names) == ["B", "O", "B", "O"]
    cut = tag_example(words, [1, 0, 2, 1], TOKENIZER, FRAME, 8)
    left = len({place for place in cut["words"] if place >= 0})
    assert 0 < left < len(words)
    assert tags_of(logits[: len(cut["words"])], cut, len(words), names) == ["B", "O", "B", "O"][:left] + ["O"] * (
        len(words) - left
    )
    assert tags_of(torch.zeros(0, 3), {"words": []}, 2, names) == ["O", "O"]


def test_predictions_need_no_more_than_model_and_batches():
    model, batches = head(SequenceClassifier), Padded(examples(), TOKENIZER.pad_id, 2)
    assert all(map(torch.equal, predict(model, batches), predict(model, batches, COMPUTE)))


def test_outputs_that_are_no_numbers_are_no_answers():
    model, batches = head(SequenceClassifier), Padded(examples(), TOKENIZER.pad_id, 2)
    with torch.no_grad():
        for parameter in model.trunk.parameters():
            parameter *= 1e30  # finite, and too large to compute with
    with pytest.raises(ValueError, match="is no number"):
        predict(model, batches, COMPUTE)
