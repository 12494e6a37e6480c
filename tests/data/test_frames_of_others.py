"""What stands around a text where the tokenizer is another people's: what its model was trained with, and no more."""

import json

import pytest
import torch
from foreign_tokenizers import foreign
from tokenizers import Tokenizer as Theirs

from minillm.data import decoder_frame, encoder_frame, mask_tokens, pair_example, tag_example, text_example, tokenize
from minillm.hub import read_tokenizer
from minillm.inference import score_candidates, sentence_logprob, write
from minillm.models import Decoder, ModelConfig
from minillm.text import Tokenizer


@pytest.fixture
def read(tmp_path):
    def of(name: str, **config) -> tuple[Tokenizer, Theirs]:
        foreign(name).save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
        return read_tokenizer(tmp_path), foreign(name)

    return of


def test_a_bert_reads_texts_and_pairs_as_it_did_when_it_was_trained(read):
    ours, theirs = read("bert")
    frame = encoder_frame(ours)
    first, second = ours.encode("the cat sat"), ours.encode("on the mat")
    single, both = theirs.encode("the cat sat"), theirs.encode("the cat sat", "on the mat")
    assert text_example(first, frame, 99)["input_ids"] == single.ids
    example = pair_example(first, second, frame, 99)
    assert (example["input_ids"], example["segment_ids"]) == (both.ids, both.type_ids)
    assert tokenize(["the cat sat"], ours).ids.tolist() == single.ids


def test_a_model_without_a_first_token_gets_none(read):
    ours, _ = read("smollm", bos_token="<|im_start|>", eos_token="<|im_end|>")
    ids = ours.encode("the cat")
    frame = decoder_frame(ours)
    assert frame.head == [] and text_example(ids, frame, 99)["input_ids"] == [*ids, ours.eos_id]
    assert pair_example([5, 6, 7], [8], frame, 4)["input_ids"] == [5, ours.sep_id, 8, ours.eos_id]
    words = tag_example(["the", "cat"], [0, 1], ours, frame, 99)
    assert words["input_ids"] == [*ids, ours.eos_id] and words["labels"][-1] == -100 and words["labels"][0] == 0
    tokens = tokenize(["the cat", "sat"], ours)
    assert tokens.ids.tolist() == [*ids, ours.eos_id, *ours.encode("sat"), ours.eos_id] and tokens.bos_id is None


def test_a_llama_gets_its_first_token_before_every_document(read):
    ours, theirs = read("llama2")
    tokens = tokenize(["the cat", "sat"], ours)
    documents = [[*theirs.encode(text).ids, ours.eos_id] for text in ("the cat", "sat")]
    assert tokens.ids.tolist() == [i for ids in documents for i in ids] and tokens.bos_id == ours.bos_id


def test_a_model_without_a_first_token_writes_and_is_asked_for_probabilities(read):
    ours, _ = read("smollm", bos_token="<|im_start|>", eos_token="<|im_end|>")
    torch.manual_seed(0)
    model = Decoder(ModelConfig(vocab_size=ours.vocab_size, context=32, width=16, layers=1, heads=2)).eval()
    ids = torch.tensor([ours.encode("the cat sat")])
    logprobs = model(ids).log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
    length = len(ours.encode(" sat"))
    found = sentence_logprob(model, ours, " sat", "the cat")
    assert found == pytest.approx(logprobs[-length:].sum().item(), abs=1e-5)
    assert score_candidates(model, ours, ["the cat"], [" sat"]).item() == pytest.approx(found, abs=1e-5)
    assert sentence_logprob(model, ours, "the") < 0  # after the token nearest in meaning to a first one
    assert len(write(model, ours, ["", "the cat"], max_new_tokens=3)) == 2


def test_a_tokenizer_with_nothing_to_hide_behind_cannot_mask(read):
    ours, _ = read("smollm")
    with pytest.raises(ValueError, match="no token that stands for a hidden one"):
        mask_tokens(torch.ones(1, 4, dtype=torch.long), ours)
