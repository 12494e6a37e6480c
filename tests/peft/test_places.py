"""Where an adapter stands: its device, precision and mode; tables and layers that stand in two places."""

import copy

import pytest
import torch
from bare import IDS, bare_model, stir
from torch import nn

from minillm.peft import (
    METHODS,
    AdaLoRA,
    Budget,
    LoRA,
    PrefixTuning,
    adapter_state,
    adapters,
    freeze,
    inject,
    load_adapter,
    merge,
    orthogonality,
    save_adapter,
    train_only,
)
from minillm.training import causal_lm


@pytest.mark.parametrize(
    "key", sorted(METHODS.keys() - {"prefix"})
)  # which begins as what a model says, and so reads it
def test_everything_of_an_adapter_is_where_the_model_is(key):
    model = inject(bare_model().to("meta"), METHODS[key]())
    assert {t.device.type for t in [*model.parameters(), *model.buffers()]} == {"meta"}


@pytest.mark.parametrize("key", METHODS)
@pytest.mark.parametrize("recipe", ["gpt2", "llama", "llama-tied", "minillm"])
def test_in_bf16_it_learns_and_travels_through_files(key, recipe, tmp_path):
    base = bare_model(recipe).bfloat16()
    model = inject(copy.deepcopy(base), METHODS[key](), generator=torch.Generator().manual_seed(0))
    freeze(model)
    assert {p.dtype: p.requires_grad for p in model.parameters()} == {torch.bfloat16: False, torch.float32: True}
    stir([p for p in model.parameters() if p.requires_grad])
    model(IDS).float().logsumexp(-1).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    save_adapter(model, tmp_path)
    again = load_adapter(base, tmp_path)
    with torch.no_grad():
        assert torch.equal(again(IDS), model(IDS))


@pytest.mark.parametrize("late", [False, True])
def test_the_ranks_of_adalora_fall_in_bf16_too(late):
    model = inject(bare_model() if late else bare_model().bfloat16(), AdaLoRA(rank=4, target_rank=2, every=1))
    model.bfloat16()  # late: after the adapter was put on it
    freeze(model)
    budget = Budget(model, 10)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.01)
    for step in range(1, 11):
        (model(IDS).float().logsumexp(-1).mean() + orthogonality(model)).backward()
        optimizer.step()
        budget(model, step)
        optimizer.zero_grad()
    ranks = [adapter.rank for _, adapter in adapters(model)]
    assert sum(ranks) == 2 * len(ranks)


@pytest.mark.parametrize("recipe", ["gpt2", "llama", "llama-tied"])
def test_a_head_learns_beside_an_adapter_by_its_name_also_where_it_is_the_embedding(recipe, tmp_path):
    base = bare_model(recipe)
    model = inject(copy.deepcopy(base), LoRA(rank=2))
    own = sum(p.numel() for _, adapter in adapters(model) for p in adapter.own().values())
    assert freeze(model, also=["head"]) == own + train_only(copy.deepcopy(base), ["head"])
    assert model.head.weight.requires_grad
    names = adapter_state(model).keys() - {f"{path}.{key}" for path, _ in adapters(model) for key in "AB"}
    assert names == {"head.weight" if recipe == "llama" else "embedding.weight"}  # once
    stir([p for p in model.parameters() if p.requires_grad])
    save_adapter(model, tmp_path)
    assert torch.equal(load_adapter(base, tmp_path)(IDS), model(IDS))


@torch.no_grad()
def test_a_layer_that_stands_in_two_places_is_not_merged():
    shared = nn.Linear(4, 4)
    model = nn.ModuleDict({"a": nn.Sequential(shared), "b": nn.Sequential(shared)})
    inject(model, LoRA(rank=2))
    stir([p for _, adapter in adapters(model) for p in adapter.own().values()])
    assert [path for path, _ in adapters(model)] == ["a.0", "b.0"]
    before = shared.weight.clone()
    with pytest.raises(ValueError, match=r"the weight of a\.0 stands in a second place"):
        merge(model)
    assert torch.equal(shared.weight, before)


@pytest.mark.parametrize("key", METHODS)
def test_putting_an_adapter_on_a_model_leaves_every_part_in_its_mode(key):
    model = bare_model().train()
    model.blocks[0].eval()
    model = inject(model, METHODS[key]())
    modes = {path: adapter.training for path, adapter in adapters(model)}
    assert all(mode != path.startswith("blocks.0") for path, mode in modes.items())
    trunk = model.base if "" in modes else model
    assert trunk.training and trunk.blocks[1].training and not trunk.blocks[0].training
    assert not trunk.blocks[0].feed_forward.activation.training


def test_a_prefix_that_cannot_begin_leaves_the_model_in_its_mode():
    model = bare_model().train()
    with pytest.raises(ValueError, match="a text of 41 tokens is longer than the model's context of 40"):
        inject(model, PrefixTuning(length=41))
    assert model.training and model.blocks[0].training
    assert causal_lm(model, {"input_ids": IDS, "labels": IDS})[0].requires_grad
