"""Adapters of every kind on every kind of model: what they change, what they leave, and how they come off again."""

import copy
import dataclasses
import itertools

import pytest
import torch
from bare import IDS, bare_model, stir

from minillm.inference import generate
from minillm.models import Decoder, Encoder
from minillm.peft import (
    IA3,
    METHODS,
    AdaLoRA,
    BitFit,
    Bottleneck,
    LlamaAdapter,
    LoRA,
    PrefixTuning,
    PTuning,
    SoftPrompt,
    adapter_names,
    adapter_state,
    adapters,
    freeze,
    inject,
    load_adapter_state,
    merge,
    remove,
    simplify,
    switched_off,
    unmerge,
)
from minillm.system import load_file, save_file
from minillm.training import TrainConfig, causal_lm, fit, masked_lm

P = 3
CHOSEN = {  # none at its defaults
    "lora": LoRA(rank=3, alpha=7),
    "lora, stabilised": LoRA(rank=4, alpha=7, rank_stabilised=True, targets=("query", "blocks.0.*.up", "down")),
    "adalora": AdaLoRA(rank=3, alpha=7, target_rank=2),
    "prompt": SoftPrompt(length=P),
    "prompt, random": SoftPrompt(length=P, start="random"),
    "prefix": PrefixTuning(length=P),
    "prefix, network": PrefixTuning(length=P, inner=5),
    "ptuning": PTuning(length=P, inner=5),
    "ptuning, lstm": PTuning(length=P, network="lstm"),
    "ia3": IA3(),
    "llama_adapter": LlamaAdapter(length=P),
    "llama_adapter, above": LlamaAdapter(length=P, layers=1),
    "bitfit": BitFit(),
    "adapter": Bottleneck(rank=3),
}
NOT_AT_ONCE = ("prompt", "prefix", "ptuning")  # these change something before they have learned
FOLDS = [key for key in CHOSEN if key.startswith(("lora", "adalora", "ia3", "bitfit"))]
RECIPES = ("minillm", "gpt2", "llama", "bert")
EVERYWHERE = list(itertools.product(METHODS, RECIPES, (Decoder, Encoder)))
EVERYWHERE += itertools.product(CHOSEN.keys() - METHODS.keys(), ["gpt2"], (Decoder, Encoder))  # of each, what it varies
EVERYWHERE.sort(key=str)  # the same order in every process
DECODERS = [(key, recipe) for key, recipe, kind in EVERYWHERE if kind is Decoder]
everywhere = pytest.mark.parametrize(("key", "recipe", "kind"), EVERYWHERE)


def learned(key, recipe="minillm", kind=Decoder, **changes):
    """The bare model, and one with an adapter that is nowhere as it began."""
    base = bare_model(recipe, kind, **changes)
    model = inject(copy.deepcopy(base), CHOSEN[key], generator=torch.Generator().manual_seed(1))
    freeze(model)
    stir([p for p in model.parameters() if p.requires_grad])
    return base, model


def same_weights(model, base):
    ours, theirs = model.state_dict(), base.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[key], theirs[key]) for key in ours)


def padded(texts, side):
    T = max(map(len, texts))
    ids, mask = torch.full((len(texts), T), 7), torch.zeros(len(texts), T, dtype=torch.long)
    for row, text in enumerate(texts):
        where = slice(T - len(text), T) if side == "left" else slice(0, len(text))
        ids[row, where], mask[row, where] = text, 1
    return ids, mask


def test_every_method_is_tried():
    assert {method.key for method in CHOSEN.values()} == set(METHODS)
    assert all(type(CHOSEN[key]) is METHODS[key] for key in METHODS)


@everywhere
@torch.no_grad()
def test_at_the_start_nothing_is_changed_but_by_prompts_which_change_nothing_without_length(key, recipe, kind):
    base = bare_model(recipe, kind)
    model = inject(copy.deepcopy(base), CHOSEN[key])
    assert torch.equal(model(IDS), base(IDS)) == (not key.startswith(NOT_AT_ONCE))
    assert model(IDS).shape == base(IDS).shape
    if hasattr(CHOSEN[key], "length"):
        empty = inject(copy.deepcopy(base), dataclasses.replace(CHOSEN[key], length=0))
        assert torch.equal(empty(IDS), base(IDS))
        ids, mask = padded([IDS[0], IDS[1, :4]], "left")
        torch.testing.assert_close(empty(ids, mask)[mask.bool()], base(ids, mask)[mask.bool()])


@pytest.mark.parametrize("key", CHOSEN)
def test_where_it_begins_is_the_generators(key):
    states = []
    for seed in (5, 5, 6):
        torch.manual_seed(len(states))
        model = inject(bare_model(), CHOSEN[key], generator=torch.Generator().manual_seed(seed))
        freeze(model)
        states.append(torch.cat([t.flatten() for t in adapter_state(model).values()]))
    assert torch.equal(states[0], states[1])
    assert torch.equal(states[0], states[2]) == (key in ("ia3", "bitfit"))  # which begin with no change


@everywhere
def test_what_has_a_gradient_learns_and_the_model_itself_stays_to_the_last_bit(key, recipe, kind):
    base = bare_model(recipe, kind)
    model = inject(copy.deepcopy(base), CHOSEN[key], generator=torch.Generator().manual_seed(1))
    count = freeze(model)
    own = adapter_state(model)
    assert (
        count == sum(t.numel() for t in own.values()) == sum(p.numel() for p in model.parameters() if p.requires_grad)
    )
    batch = {"input_ids": IDS, "labels": IDS, "attention_mask": torch.ones_like(IDS)}
    still = []
    for weight_decay in (0.0, 0.1):
        before = {path: t.clone() for path, t in adapter_state(model).items()}
        config = TrainConfig(steps=1, warmup=0, device="cpu", dtype="fp32", weight_decay=weight_decay)
        fit(model, causal_lm if kind is Decoder else masked_lm, [batch], config, progress=False)
        still.append({path for path, t in adapter_state(model).items() if torch.equal(t, before[path])})
    zero = {"lora": "B", "adalora": "E", "llama_adapter": "gate", "adapter": "up"}.get(CHOSEN[key].key, "")
    behind = {path for path in own if zero and zero not in path.split(".")[-2:]}  # a zero lets no gradient through
    assert still == [behind, set()] and bool(behind) == bool(zero)
    assert same_weights(remove(model), base)


@everywhere
@torch.no_grad()
def test_it_comes_off_without_a_trace_and_can_be_switched_off(key, recipe, kind):
    base, model = learned(key, recipe, kind)
    changed = model(IDS)
    assert not torch.allclose(changed, base(IDS), atol=1e-3)
    with switched_off(model) as off:
        assert torch.equal(off(IDS), base(IDS))
    assert torch.equal(model(IDS), changed)
    came = remove(model)
    assert (
        type(came) is kind
        and not adapter_names(came)
        and same_weights(came, base)
        and torch.equal(came(IDS), base(IDS))
    )


@everywhere
@torch.no_grad()
def test_padding_on_either_side_changes_nothing(key, recipe, kind):
    _, model = learned(key, recipe, kind)
    texts = [IDS[0], IDS[1, :4], IDS[1, :1]]
    alone = torch.cat([model(text[None])[0] for text in texts])
    for side in ("left", "right"):
        ids, mask = padded(texts, side)
        torch.testing.assert_close(model(ids, mask)[mask.bool()], alone, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model(ids, mask, keep=mask.bool()), alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("key", "recipe"), [pair for pair in DECODERS if pair[1] in ("minillm", "gpt2")])
@torch.no_grad()
def test_writing_with_a_cache_or_in_a_ragged_batch_is_writing_alone(key, recipe):
    _, model = learned(key, recipe)
    texts = [IDS[0, :6], IDS[1, :2]]
    alone = [generate(model, text[None], 6, temperature=0, use_cache=False)[0, len(text) :] for text in texts]
    for text, expected in zip(texts, alone):
        assert torch.equal(generate(model, text[None], 6, temperature=0)[0, len(text) :], expected)
    ids, mask = padded(texts, "left")
    together = generate(model, ids, 6, temperature=0, attention_mask=mask)
    assert torch.equal(together[:, ids.size(1) :], torch.stack(alone))


@pytest.mark.parametrize(("key", "recipe"), DECODERS)
@torch.no_grad()
def test_an_adapter_travels_alone_through_a_file(key, recipe, tmp_path):
    base, model = learned(key, recipe)
    save_file(adapter_state(model), tmp_path / "adapter.safetensors")
    tensors = load_file(tmp_path / "adapter.safetensors")[0]
    assert not tensors.keys() & base.state_dict().keys()
    fresh = inject(base, CHOSEN[key])
    load_adapter_state(fresh, tensors)
    assert torch.equal(fresh(IDS), model(IDS))


@pytest.mark.parametrize("key", CHOSEN)
@torch.no_grad()
def test_a_copy_is_independent_in_both_directions(key):
    base, model = learned(key, "llama")
    twin, before = copy.deepcopy(model), model(IDS)
    assert torch.equal(twin(IDS), before)
    stir(twin.parameters(), seed=3)
    assert torch.equal(model(IDS), before) and not torch.allclose(twin(IDS), before)
    after = twin(IDS)
    stir(model.parameters(), seed=4)
    assert torch.equal(twin(IDS), after)
    assert same_weights(remove(learned(key, "llama")[1]), base)


# Merging


def distance(came, expected):
    return float((came - expected).norm() / expected.norm())


@pytest.mark.parametrize("key", FOLDS)
@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("kind", [Decoder, Encoder])
@torch.no_grad()
def test_merged_is_unmerged_once_or_twice_and_back_bit_for_bit(key, recipe, kind):
    base, model = learned(key, recipe, kind)
    before, state = model(IDS), {name: t.clone() for name, t in model.state_dict().items()}
    assert merge(model) is model
    came = model(IDS)
    assert distance(came, before) < 5e-6
    assert torch.equal(merge(model)(IDS), came)
    plain = remove(copy.deepcopy(model))
    assert type(plain) is kind and not adapter_names(plain) and torch.equal(plain(IDS), came)
    new = plain.state_dict().keys() - base.state_dict().keys()
    assert all(name.endswith(".bias") for name in new) and (not new or key == "bitfit")
    assert unmerge(model) is model and torch.equal(unmerge(model)(IDS), before)
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(t, state[name]) for name, t in model.state_dict().items())


@pytest.mark.parametrize("key", FOLDS)
@torch.no_grad()
def test_merged_in_bf16_is_off_by_the_rounding_of_a_weight(key):
    base = bare_model("gpt2").bfloat16()
    model = inject(copy.deepcopy(base), CHOSEN[key])
    freeze(model)
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    stir([p for p in model.parameters() if p.requires_grad])
    exact = distance(copy.deepcopy(model).float()(IDS), model(IDS).float())
    before, weights = model(IDS), {name: t.clone() for name, t in base.state_dict().items()}
    merge(model)
    assert {p.dtype for p in base.parameters()} == {p.dtype for p in remove(copy.deepcopy(model)).parameters()}
    assert distance(model(IDS).float(), before.float()) < 0.03 and exact < 0.03  # a product of bf16 is off by 0.004
    assert torch.equal(unmerge(model)(IDS), before)
    assert all(torch.equal(t, weights[name]) for name, t in remove(model).state_dict().items())


@pytest.mark.parametrize("key", sorted(CHOSEN.keys() - set(FOLDS)))
@torch.no_grad()
def test_what_is_no_change_of_weights_is_not_merged_and_nor_is_what_stands_beside_it(key):
    _, model = learned(key)
    if not key.startswith(("prompt", "ptuning")):
        model = inject(model, LoRA(), "second")
        stir([p for _, a in adapters(model, "second") for p in a.own().values()])
    before = model(IDS)
    with pytest.raises(
        ValueError, match=rf"'default' \({CHOSEN[key].key}\) is no change of weights and cannot be merged"
    ):
        merge(model)
    assert torch.equal(model(IDS), before) and not any(adapter.kept for _, adapter in adapters(model))


@pytest.mark.parametrize("recipe", ["gpt2", "llama-tied"])
@torch.no_grad()
def test_a_weight_in_two_places_is_adapted_in_one_and_not_merged(recipe):
    base = bare_model(recipe)
    model = inject(copy.deepcopy(base), LoRA(targets=("head",)))
    stir([p for _, a in adapters(model) for p in a.own().values()])
    change = adapters(model)[0][1].change()
    torch.testing.assert_close(model(IDS), base(IDS) + base.hidden(IDS) @ change.mT, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="the weight of head stands in a second place"):
        merge(model)


# Networks that are thrown away


@pytest.mark.parametrize("key", ["prefix, network", "ptuning", "ptuning, lstm", "prompt", "prefix"])
@torch.no_grad()
def test_without_its_network_a_prompt_does_the_same_and_is_smaller(key):
    _, model = learned(key)
    before, size = model(IDS), sum(t.numel() for t in adapter_state(model).values())
    simplify(model)
    assert torch.equal(model(IDS), before)
    assert (sum(t.numel() for t in adapter_state(model).values()) < size) == (key not in ("prompt", "prefix"))
    assert freeze(model) == sum(t.numel() for t in adapter_state(model).values())
    assert type(adapters(model)[0][1].method) in (SoftPrompt, PrefixTuning)
