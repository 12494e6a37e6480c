"""Token ids that are kept: the same as those worked out, and worked out anew whenever anything differs."""

import pytest
import torch

from minillm.data import tokenize, tokenize_once
from minillm.text import Tokenizer

TEXTS = ["a low tale", "", "lower", "the end\n"]
OURS = Tokenizer.train(TEXTS * 9, 280)


class Counting:
    """A tokenizer that counts how often it is asked."""

    def __init__(self, tokenizer, eos_id=None):
        self.tokenizer, self.asked = tokenizer, 0
        self.bos_id, self.eos_id = tokenizer.bos_id, tokenizer.eos_id if eos_id is None else eos_id
        self.begin, self.end = (self.bos_id,), ()
        self.fingerprint = tokenizer.fingerprint

    def encode_arrays(self, texts):
        self.asked += 1
        return self.tokenizer.encode_arrays(texts)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("one_special", [False, True])  # as GPT-2's, whose only one both begins and ends a text
def test_kept_tokens_are_those_of_tokenize(tmp_path, whole, one_special):
    tokenizer = Counting(OURS, OURS.bos_id if one_special else None)
    right = tokenize(TEXTS, tokenizer, whole)
    once = tokenizer.asked
    for _ in range(3):
        found = tokenize_once(TEXTS, tokenizer, tmp_path / "kept", whole)
        assert torch.equal(found.ids, right.ids) and found.bos_id == right.bos_id and tokenizer.asked == 2 * once
        assert found.starts is None if whole else torch.equal(found.starts, right.starts)


def test_another_text_tokenizer_or_form_and_a_damaged_file_are_worked_out_anew(tmp_path):
    file = tmp_path / "kept"
    moved = ["a low tale\n", "", "lower", "the end"]  # the same when they stand one behind the other
    other = Tokenizer.characters(TEXTS)
    for texts, tokenizer, whole in (
        (TEXTS, OURS, False),
        (moved, OURS, False),
        (TEXTS, other, False),
        (TEXTS, OURS, True),
    ):
        found, right = tokenize_once(texts, tokenizer, file, whole), tokenize(texts, tokenizer, whole)
        assert torch.equal(found.ids, right.ids)
    whole = file.read_bytes()
    for damaged in (b"", whole[:-1], whole[:-1] + b"x", bytes(len(whole))):
        file.write_bytes(damaged)
        assert torch.equal(tokenize_once(TEXTS, OURS, file, True).ids, tokenize(TEXTS, OURS, True).ids)
        assert file.read_bytes() == whole
