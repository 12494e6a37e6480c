"""A run folder as a model and a tokenizer, and folders that are no whole run."""

import pytest
import torch

from minillm.hub import load, load_causal, load_model, load_tokenizer, model_kind, rebuild
from minillm.models import (
    LSTMLM,
    BigramLM,
    Decoder,
    Encoder,
    LSTMConfig,
    ModelConfig,
    PairClassifier,
    RewardModel,
    SequenceClassifier,
    TextEncoder,
    TokenClassifier,
)
from minillm.system import write_json
from minillm.text import Tokenizer
from minillm.training import RunFolder, describe

TOKENIZER = Tokenizer.characters("abc")
CONFIG = ModelConfig(TOKENIZER.vocab_size, 8, layers=1, width=8, heads=2)
SMALL = LSTMConfig(TOKENIZER.vocab_size, 1, 8)
MODELS = [Decoder(CONFIG), Encoder(CONFIG), LSTMLM(SMALL), BigramLM(TOKENIZER.vocab_size)]
MODELS += [kind(Encoder(CONFIG), 3) for kind in (SequenceClassifier, PairClassifier, TokenClassifier)]
MODELS += [TextEncoder(LSTMLM(SMALL)), RewardModel(Decoder(CONFIG))]


def put(folder, model):
    """A run folder with this model in it."""
    run = RunFolder(folder)
    run.save_config(model=describe(model), tokenizer=TOKENIZER.fingerprint)
    run.save_model(model)
    TOKENIZER.save(run.path / "tokenizer.json")
    return run


@pytest.mark.parametrize("model", MODELS, ids=model_kind)
def test_every_kind_of_model_comes_back_from_its_folder(model, tmp_path):
    run = put(tmp_path, model)
    again, tokenizer = load(run.path)
    assert type(again) is type(model) and not again.training and describe(again) == describe(model)
    assert tokenizer.fingerprint == TOKENIZER.fingerprint
    theirs = again.state_dict()
    assert all(torch.equal(theirs[name], tensor) for name, tensor in model.state_dict().items())


def test_a_run_is_named_by_its_path_or_is_given(tmp_path):
    run = put(tmp_path, MODELS[0])
    for place in (run, run.path, str(run.path)):
        assert type(load_model(place)) is type(load_causal(place)) is Decoder
        assert load_tokenizer(place).fingerprint == TOKENIZER.fingerprint


def test_a_model_is_called_by_its_name():
    assert [model_kind(model) for model in MODELS[:3]] == ["a Decoder", "an Encoder", "an LSTMLM"]


def test_what_generates_no_text_is_refused_where_text_is_wanted(tmp_path):
    with pytest.raises(ValueError, match="holds a RewardModel, which says how good an answer is and writes none"):
        load_causal(put(tmp_path / "reward", MODELS[-1]))
    with pytest.raises(ValueError, match="holds an Encoder, which reads both ways and writes none"):
        load_causal(put(tmp_path / "encoder", MODELS[1]))


def test_what_is_no_whole_run_is_refused(tmp_path):
    run = put(tmp_path, MODELS[0])
    Tokenizer.characters("abcd").save(run.path / "tokenizer.json")
    with pytest.raises(ValueError, match="is not the tokenizer that this model was trained with"):
        load(run.path)
    weights = run.model_file.read_bytes()
    run.model_file.unlink()
    with pytest.raises(ValueError, match="holds no model yet"):
        load(run.path)
    run.model_file.write_bytes(weights)
    for wrong in ({"kind": "Mystery"}, {"kind": "Decoder", "size": 3}, {}):
        write_json(run.path / "config.json", {"model": wrong})
        with pytest.raises(ValueError, match=r"config\.json: does not describe a model"):
            load(run.path)
        with pytest.raises((KeyError, TypeError)):
            rebuild(wrong)
    with pytest.raises(ValueError, match="holds no run: there is no such folder"):
        load(run.path / "elsewhere")
