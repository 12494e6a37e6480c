"""Windows on a corpus: every token once, none without its beginning, in an order that can be resumed."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minillm.data import IGNORE_INDEX, Padded, Tokens, Windows, mask_tokens, pack, tokenize
from minillm.data.batches import window_table
from minillm.text import Tokenizer
from minillm.text.bpe import GPT2_PATTERN
from minillm.text.engines import BytePairs
from minillm.text.tokenizer import SPECIALS

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


def test_targets_are_what_follows_but_for_the_beginnings_of_documents():
    tokens = tokenize(["ab", "c"], TOKENIZER)
    assert tokens.targets().tolist() == [0, 1, TOKENIZER.eos_id, IGNORE_INDEX, 2, TOKENIZER.eos_id]
    assert tokenize(["ab", "c"], TOKENIZER, whole=True).targets().tolist() == [1, 2]
    assert tokens.targets().dtype == torch.long and tokenize(["ab"], TOKENIZER, whole=True).ids.dtype == torch.int32


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


def test_masking_selects_and_replaces_in_the_shares_of_the_paper():
    tokenizer = Tokenizer.characters("".join(map(chr, range(65, 120))))
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(len(tokenizer) - len(tokenizer.special_ids), (200, 600), generator=generator)
    ids[:, 0], ids[:, 300], ids[:, 500:] = tokenizer.cls_id, tokenizer.sep_id, tokenizer.pad_id
    inputs, labels = mask_tokens(ids, tokenizer, generator=generator)
    selected = labels != IGNORE_INDEX
    ordinary = ~torch.isin(ids, torch.tensor(sorted(tokenizer.special_ids)))
    assert ordinary.sum() > 99_000 and not (selected & ~ordinary).any()
    assert torch.equal(labels[selected], ids[selected]) and torch.equal(inputs[~selected], ids[~selected])
    masked = inputs[selected] == tokenizer.mask_id
    same = inputs[selected] == ids[selected]
    assert abs(selected.sum() / ordinary.sum() - 0.15) < 0.01
    assert abs(masked.float().mean() - 0.8) < 0.01
    chance = 1 / 55  # a random token is now and then the old one
    assert abs(same.float().mean() - (0.1 + 0.1 * chance)) < 0.01
    assert not torch.isin(inputs[selected][~masked], torch.tensor(sorted(tokenizer.special_ids))).any()


def test_masking_all_or_nothing_and_shares_that_are_none():
    ids = torch.tensor([TOKENIZER.encode("abcabc")])
    assert torch.equal(mask_tokens(ids, TOKENIZER, 0.0)[0], ids)
    assert torch.equal(mask_tokens(ids, TOKENIZER, 1.0)[1], ids)
    with pytest.raises(ValueError, match=r"share of tokens to mask is 1.5"):
        mask_tokens(ids, TOKENIZER, 1.5)


def padded(seed=None, **options):
    examples = [{"input_ids": list(range(1, n + 1)), "labels": [7] * n, "kind": n} for n in (3, 1, 5, 2, 4, 6, 2)]
    return Padded(examples, pad_id=0, batch_size=2, seed=seed, **options)


def test_examples_of_different_lengths_are_padded_by_what_they_are():
    batch = next(iter(padded()))
    assert batch["input_ids"].tolist() == [[1, 2, 3], [1, 0, 0]] and batch["kind"].tolist() == [3, 1]
    assert batch["labels"].tolist() == [[7, 7, 7], [7, IGNORE_INDEX, IGNORE_INDEX]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_an_epoch_shows_every_example_once_in_an_order_of_its_own():
    kinds = [k for batch in padded(seed=3) for k in batch["kind"].tolist()]
    assert sorted(kinds) == [1, 2, 2, 3, 4, 5, 6]
    assert not torch.equal(padded(seed=3).order(0), padded(seed=3).order(1))


def test_examples_that_belong_together_stand_in_neighbouring_rows():
    pairs = [({"input_ids": [n]}, {"input_ids": [n, n]}) for n in range(5)]
    for batch in Padded(pairs, 9, 2, seed=1):
        assert torch.equal(batch["input_ids"][0::2, 0], batch["input_ids"][1::2, 0])
        assert batch["attention_mask"].sum(1).tolist() == [1, 2] * (len(batch["input_ids"]) // 2)


def test_masks_are_fresh_in_every_epoch_and_the_same_after_a_resume():
    def change(batch, generator):
        return batch | {"draw": torch.rand(1, generator=generator)}

    straight = [b["draw"].item() for b in itertools.islice(padded(1, change=change).forever(), 12)]
    assert len(set(straight)) == 12
    first = padded(1, change=change)
    list(itertools.islice(first.forever(), 5))
    resumed = padded(1, change=change)
    resumed.load_state_dict(first.state_dict())
    assert [b["draw"].item() for b in itertools.islice(resumed.forever(), 7)] == straight[5:]


def test_masking_puts_in_no_id_that_is_no_token():
    tokens = {i: bytes([i]) for i in range(256)} | {900: b"th", 901: b"the"}
    tokenizer = Tokenizer(BytePairs(tokens, {name: 1000 + 50 * i for i, name in enumerate(SPECIALS)}, GPT2_PATTERN))
    ids = torch.tensor([tokenizer.encode("the cat") * 500])
    inputs, _ = mask_tokens(ids, tokenizer, 1.0, torch.Generator().manual_seed(0))
    drawn = set(inputs.flatten().tolist())
    assert drawn - {tokenizer.mask_id} <= tokens.keys() and len(drawn) > 100
    assert tokenizer.decode(inputs[0])


@pytest.mark.parametrize("size", [1, 7, 100, 1000, 1003])
def test_batches_of_like_length_stay_whole_over_epochs(size):
    """In every epoch, each batch is one that sorting a pool gives, but for those that two epochs share."""
    lengths = torch.randint(1, 60, (size,), generator=torch.Generator().manual_seed(size)).tolist()
    examples = [{"input_ids": [i] * n} for i, n in enumerate(lengths)]
    stream, B = Padded(examples, 0, 8, seed=5).forever(), 8
    seen, spans, padded, real = [], [], 0, 0
    for batch in itertools.islice(stream, size):  # B epochs
        ids, mask = batch["input_ids"], batch["attention_mask"]
        assert len(ids) == B
        seen += ids[:, 0].tolist()
        rows = mask.sum(1)
        spans.append(int(rows.max() - rows.min()))
        padded, real = padded + mask.numel(), real + int(mask.sum())
    for epoch in range(B):
        assert sorted(seen[epoch * size : (epoch + 1) * size]) == list(range(size))
    if size >= 100:
        unsorted = sum(B * max(lengths[i : i + B]) for i in range(0, size - B, B)) * B / (size // B * B * B)
        assert sorted(spans)[len(spans) // 2] <= 8 and padded < 1.09 * real, unsorted


def test_where_batches_divide_the_examples_all_epochs_are_sorted_pools():
    examples = [{"input_ids": [0] * n} for n in torch.randint(1, 99, (64,), generator=torch.Generator()).tolist()]
    lengths = sorted(len(e["input_ids"]) for e in examples)
    wanted = sorted(lengths[i : i + 4] for i in range(0, 64, 4))
    batches = Padded(examples, 0, 4, seed=1)
    for epoch in range(3):
        assert sorted(sorted(batches.lengths[rows].tolist()) for rows in batches.order(epoch).split(4)) == wanted


@pytest.mark.parametrize(("examples", "size", "wanted"), [(100, 4, 3), (10, 4, 9), (7, 1, 2), (0, 3, 2), (11, 3, None)])
def test_some_batches_lie_evenly_over_all(examples, size, wanted):
    batches = Padded([{"input_ids": [i]} for i in range(examples)], 0, size)
    ids = [i for batch in batches.spread(wanted) for i in batch["input_ids"].flatten().tolist()]
    assert len(ids) == len(set(ids)) == min(examples, size * (wanted or examples)) and ids == sorted(ids)
    if ids:
        steps = {b - a for a, b in itertools.pairwise(ids)}
        assert max(steps, default=1) - min(steps, default=1) <= 1 and ids[0] + ids[-1] in (examples - 1, examples)


def first_fit(examples, length):
    """Every row looked at for every example."""
    rows = []
    for example in sorted(examples, key=lambda example: -len(example["input_ids"])):
        room = (row for row in rows if len(row) + len(example["input_ids"]) <= length)
        row = next(room, None)
        if row is None:
            rows.append(row := [])
        row += example["input_ids"]
    return rows


@given(st.integers(1, 20), st.lists(st.integers(0, 22), max_size=40))
def test_packing_is_first_fit_of_the_longest_first(length, sizes):
    examples = [{"input_ids": [i] * n} for i, n in enumerate(sizes)]
    assert [row["input_ids"] for row in pack(examples, length)] == first_fit(examples, length)
