"""Windows on a corpus: every token once, none without its beginning, in an order that can be resumed."""

import itertools

import pytest
import torch

from minillm.data import IGNORE_INDEX, Tokens, Windows, tokenize, window_table
from minillm.tokenizer import Tokenizer

DOCUMENTS = ["abcab", "ba", "cabbacabbacabba", "a", "bcbc"]
TOKENIZER = Tokenizer.characters("abc")


def test_documents_stand_between_their_marks_and_one_long_text_stands_alone():
    tokens = tokenize(["ab", "c"], TOKENIZER)
    bos, eos = TOKENIZER.bos_id, TOKENIZER.eos_id
    assert tokens.ids.tolist() == [bos, 0, 1, eos, bos, 2, eos] and tokens.starts.tolist() == [0, 4]
    whole = tokenize(["ab", "c"], TOKENIZER, whole=True)
    assert whole.ids.tolist() == [0, 1, 2] and whole.starts is None


def test_a_corpus_mapped_from_a_file_is_the_same(tmp_path):
    mapped = tokenize(DOCUMENTS, TOKENIZER, file=tmp_path / "tokens.bin")
    assert torch.equal(mapped.ids, tokenize(DOCUMENTS, TOKENIZER).ids)
    batch = next(iter(Windows(mapped, 4, 2)))
    assert torch.equal(batch["input_ids"], next(iter(Windows(tokenize(DOCUMENTS, TOKENIZER), 4, 2)))["input_ids"])


def test_the_worked_examples_of_the_docstring():
    assert window_table(9, 4).tolist() == [[0, 1], [4, 5]]
    assert window_table(9, 4, torch.tensor([0, 3, 7])).tolist() == [[0, 1], [3, 5], [4, 8]]


@pytest.mark.parametrize("context", [1, 2, 3, 4, 7, 15, 40])
@pytest.mark.parametrize("whole", [True, False])
def test_every_token_is_predicted_exactly_once(context, whole):
    tokens = tokenize(DOCUMENTS, TOKENIZER, whole)
    if len(tokens) <= context:
        pytest.skip("the text is shorter than the window")
    predicted = []
    for begin, first in window_table(len(tokens), context, tokens.starts).tolist():
        assert 0 <= begin < first <= begin + context < len(tokens)
        predicted += range(first, begin + context + 1)
    assert predicted == list(range(1, len(tokens)))


def test_a_document_that_fits_is_seen_from_its_beginning():
    tokens = tokenize(["abcabc", "ba", "cabba", "a", "bcbc"] * 5, TOKENIZER)
    starts = set(tokens.starts.tolist())
    for begin, first in window_table(len(tokens), 12, tokens.starts).tolist()[:-1]:
        own_start = max(s for s in starts if s <= first)
        assert begin <= own_start or own_start == first


def test_labels_are_the_inputs_but_for_what_another_window_predicts_and_bos():
    tokens = tokenize(DOCUMENTS, TOKENIZER)
    windows = Windows(tokens, 6, 3)
    rows = 0
    for batch in windows:
        ids, labels = batch["input_ids"], batch["labels"]
        assert ids.shape[1] == 7 and labels.shape == ids.shape
        counted = labels != IGNORE_INDEX
        assert torch.equal(ids[counted], labels[counted])
        assert not (labels == TOKENIZER.bos_id).any()
        rows += int(counted[:, 1:].sum())
    assert rows == len(tokens) - len(DOCUMENTS)  # all but the <|bos|> of each document


def test_an_epoch_shows_every_window_once_and_the_next_in_another_order():
    tokens = tokenize(DOCUMENTS * 20, TOKENIZER)
    windows = Windows(tokens, 8, 4, seed=7)
    first, second = windows.order(0), windows.order(1)
    assert sorted(first.tolist()) == list(range(len(windows.table))) == sorted(second.tolist())
    assert first.tolist() != second.tolist()
    assert torch.equal(first, Windows(tokens, 8, 4, seed=7).order(0))


def test_the_endless_stream_resumes_anywhere_across_epochs():
    tokens = tokenize(DOCUMENTS * 4, TOKENIZER)
    straight = [b["input_ids"] for b in itertools.islice(Windows(tokens, 8, 4, seed=1).forever(), 12)]
    seen = Windows(tokens, 8, 4, seed=1)
    list(itertools.islice(seen.forever(), 5))
    resumed = Windows(tokens, 8, 4, seed=1)
    resumed.load_state_dict(seen.state_dict())
    rest = [b["input_ids"] for b in itertools.islice(resumed.forever(), 7)]
    assert all(torch.equal(a, b) for a, b in zip(straight[5:], rest))


def test_a_batch_larger_than_an_epoch_is_still_full():
    windows = Windows(tokenize(DOCUMENTS, TOKENIZER), 8, 50, seed=1)
    assert all(len(b["input_ids"]) == 50 for b in itertools.islice(windows.forever(), 3))


def test_a_text_shorter_than_one_window_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match="has 3 tokens and one window needs 9"):
        Windows(tokenize(["abc"], TOKENIZER, whole=True), 8, 1)
    with pytest.raises(ValueError, match="has 0 tokens"):
        Windows(Tokens(torch.zeros(0, dtype=torch.int32), None, None), 8, 1)
