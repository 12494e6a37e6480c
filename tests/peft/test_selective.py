"""What learns: exactly the parts that were named, whatever the model; the rest is the same to the last bit."""

import pytest
import torch
from torch import nn

from minillm.models import (
    LSTMLM,
    RECIPES,
    BigramLM,
    Decoder,
    Encoder,
    LSTMConfig,
    ModelConfig,
    SequenceClassifier,
    TextEncoder,
    layer_depths,
    layer_stack,
)
from minillm.peft import train_all, train_head, train_last, train_only
from minillm.training import TrainConfig, causal_lm, classification, fit

V = 20


def decoder(recipe="minillm", kind=Decoder, layers=3, **changes):
    torch.manual_seed(0)
    model = kind(ModelConfig(V, context=8, layers=layers, width=16, heads=2, recipe=recipe, **changes))
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.2)
    return model


def lstm():
    return LSTMLM(LSTMConfig(V, layers=2, width=8))


def learning(model):
    return {name for name, p in model.named_parameters() if p.requires_grad}


def moved(model, loss_fn, batch):
    """The parameters that two steps change."""
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    config = TrainConfig(steps=2, warmup=0, device="cpu", dtype="fp32", weight_decay=0.1)
    fit(model, loss_fn, [batch], config, progress=False)
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


def texts(labels=None):
    ids = torch.randint(0, V, (4, 8), generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "labels": ids if labels is None else torch.tensor(labels)}


@pytest.mark.parametrize("recipe", RECIPES)
def test_of_every_recipe_the_head_alone_learns_and_the_rest_stays_to_the_last_bit(recipe):
    model = decoder(recipe)
    own = {name for name, _ in model.named_parameters(remove_duplicate=False) if name.startswith("head.")}
    if RECIPES[recipe].tied:
        own = own - {"head.weight"} | {"embedding.weight"}  # one table under two names: it moves in both
    count = train_head(model)
    assert learning(model) == own == moved(model, causal_lm, texts())
    assert count == sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert (model.head.weight is model.embedding.weight) == RECIPES[recipe].tied


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("last", [1, 2])
def test_the_last_layers_learn_with_the_final_norm_and_the_head(recipe, last):
    model = decoder(recipe)
    train_last(model, last)
    expected = {name for name, _ in model.named_parameters() if name.startswith(("head.", "norm."))}
    expected |= {
        name
        for name, _ in model.named_parameters()
        if name.startswith(tuple(f"blocks.{i}." for i in range(3 - last, 3)))
    }
    if RECIPES[recipe].tied:
        expected |= {"embedding.weight"}
    assert learning(model) == expected
    assert moved(model, causal_lm, texts()) == expected


def test_a_head_on_a_trunk_learns_without_the_trunk_and_the_trunks_own_output_layer():
    for trunk in (decoder(), decoder("gpt2"), decoder("bert", Encoder), lstm()):
        model = SequenceClassifier(trunk, 3)
        assert train_head(model) == model.head.weight.numel() + 3
        assert moved(model, classification, texts([0, 1, 2, 0])) == {"head.weight", "head.bias"}
    model = SequenceClassifier(decoder("gpt2"), 3)
    train_last(model, 1)
    expected = {
        name for name in dict(model.named_parameters()) if name.startswith(("head.", "trunk.norm.", "trunk.blocks.2."))
    }
    assert learning(model) == expected and "trunk.norm.weight" in expected
    nn.init.normal_(model.head.weight)
    assert moved(model, classification, texts([0, 1, 2, 0])) == expected


def test_of_an_lstm_the_last_layer_learns():
    model = lstm()
    train_last(model, 1)
    names = {f"lstm.{kind}_{part}_l1" for kind in ("weight", "bias") for part in ("ih", "hh")} | {"head.weight"}
    assert learning(model) == names == moved(model, causal_lm, texts())
    train_last(model, 2)
    assert learning(model) == set(dict(model.named_parameters())) - {"embedding.weight"}


def test_a_frozen_trunk_is_not_computed_backwards():
    model = SequenceClassifier(decoder(), 3)
    train_head(model)
    assert not model.trunk.hidden(texts()["input_ids"]).requires_grad
    assert model(texts()["input_ids"]).requires_grad


def test_parts_are_named_in_any_module_and_a_second_choice_replaces_the_first():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2))
    assert train_only(model, ["0"]) == 9 and learning(model) == {"0.weight", "0.bias"}
    assert train_only(model, ["2.bias", "2"]) == 8 and learning(model) == {"2.weight", "2.bias"}
    assert train_all(model) == 17 and learning(model) == {"0.weight", "0.bias", "2.weight", "2.bias"}
    ten = nn.ModuleDict({str(i): nn.Linear(1, 1) for i in range(12)})
    train_only(ten, ["1"])
    assert learning(ten) == {"1.weight", "1.bias"}  # and not 10 and 11


def test_a_part_that_is_not_there_is_refused_by_name_and_nothing_is_frozen():
    model = decoder()
    with pytest.raises(ValueError, match=r"no parameters under 'blocks\.7'; it has embedding, shift, blocks, head"):
        train_only(model, ["head", "blocks.7"])
    with pytest.raises(ValueError, match="no part of the model was named"):
        train_only(model, [])
    with pytest.raises(ValueError, match="TextEncoder has no output layer of its own"):
        train_head(TextEncoder(decoder()))
    for layers in (0, 4):
        with pytest.raises(ValueError, match=f"the last {layers} layers of this Decoder: its layers number 3"):
            train_last(model, layers)
    with pytest.raises(ValueError, match="BigramLM: it has none"):
        train_last(BigramLM(V), 1)
    assert learning(model) == set(dict(model.named_parameters()))


def test_vectors_of_texts_have_last_layers_though_no_head():
    model = TextEncoder(decoder("gpt2"))
    train_last(model, 1)
    assert learning(model) == {
        n for n, _ in model.named_parameters() if n.startswith(("trunk.blocks.2.", "trunk.norm."))
    }


def test_depth_is_counted_from_the_output_down():
    depths = layer_depths(decoder("gpt2", segments=2))
    assert depths.pop("embedding.weight") == 0  # tied
    assert {name: depth for name, depth in depths.items() if not name.startswith("blocks.")} == {
        "norm.weight": 1, "norm.bias": 1, "position.weight": 4, "segment.weight": 4,
    }  # fmt: skip
    assert {name.split(".")[1]: depth for name, depth in depths.items() if name.startswith("blocks.")} == {
        "0": 3,
        "1": 2,
        "2": 1,
    }
    classifier = layer_depths(SequenceClassifier(decoder(), 3))
    assert (
        classifier["head.weight"] == 0 and classifier["trunk.head.weight"] == classifier["trunk.embedding.weight"] == 4
    )
    recurrent = layer_depths(lstm())
    assert recurrent["head.weight"] == 0 and recurrent["lstm.bias_hh_l1"] == 1
    assert recurrent["lstm.weight_ih_l0"] == 2 and recurrent["embedding.weight"] == 3
    assert layer_depths(BigramLM(V)) == {"table.weight": 1}


def test_a_table_in_two_places_has_the_depth_of_the_upper_one_whichever_comes_first():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.layers, self.embedding = (
                nn.Linear(4, V),
                nn.ModuleList([nn.Linear(4, 4)]),
                nn.Embedding(V, 4),
            )
            self.embedding.weight = self.head.weight

    assert layer_depths(Backwards()) == {"head.weight": 0, "head.bias": 0, "layers.0.weight": 1, "layers.0.bias": 1}


def test_layers_are_found_by_their_size_wherever_they_are():
    assert layer_stack(SequenceClassifier(decoder(), 2)) == ("trunk.blocks", 3)
    assert layer_stack(nn.LSTM(3, 3, 4)) == ("", 4) and layer_stack(BigramLM(3)) == ("", 0)
    assert set(layer_depths(nn.LSTM(3, 3, 2, bidirectional=True)).values()) == {1, 2}
    many = nn.ModuleList(nn.Linear(2, 2) for _ in range(11))
    assert [layer_depths(many)[f"{i}.weight"] for i in range(11)] == list(range(11, 0, -1))
    few = nn.ModuleDict({"hints": nn.ModuleList([nn.Linear(1, 1)] * 5), "layers": many})  # 5 small, 11 large
    assert layer_stack(few) == ("layers", 11)
