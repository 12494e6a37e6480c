"""Several adapters on one model, adapters under heads, ranks that end, and everything that is refused."""

import copy

import pytest
import torch
from bare import IDS, V, bare_model, stir
from torch import nn

from minillm.models import Decoder, Encoder, SequenceClassifier, TextEncoder
from minillm.peft import (
    IA3,
    METHODS,
    AdaLoRA,
    BitFit,
    Budget,
    LlamaAdapter,
    LoRA,
    PrefixTuning,
    SoftPrompt,
    adapter_names,
    adapter_state,
    adapters,
    freeze,
    inject,
    load_adapter_state,
    merge,
    orthogonality,
    remove,
    switched_off,
    unmerge,
    use,
)
from minillm.training import classification


def put(model, method, name, seed=1):
    """The model with one more adapter, which is nowhere as it began."""
    model = inject(model, method, name, torch.Generator().manual_seed(seed))
    stir([p for _, adapter in adapters(model, name) for p in adapter.own().values()], seed=seed)
    return model


def close(came, expected):
    torch.testing.assert_close(came, expected, atol=1e-5, rtol=1e-5)


def one_by_one(model, method_a, method_b):
    """The model with two adapters, and what each says alone."""
    alone = [put(copy.deepcopy(model), m, n, s)(IDS) for m, n, s in ((method_a, "a", 1), (method_b, "b", 2))]
    return put(put(model, method_a, "a", 1), method_b, "b", 2), *alone


# Several adapters


@pytest.mark.parametrize("a", METHODS)
@pytest.mark.parametrize("b", ["lora", "llama_adapter", "ia3"])
@torch.no_grad()
def test_of_two_adapters_each_can_be_used_alone_and_either_taken_out(a, b):
    base = bare_model("gpt2")
    model, only_a, only_b = one_by_one(copy.deepcopy(base), METHODS[a](), METHODS[b]())
    assert adapter_names(model) and set(adapter_names(model)) == {"a", "b"}
    both = model(IDS)
    use(model, a=1)
    close(model(IDS), only_a)
    use(model, b=1)
    close(model(IDS), only_b)
    use(model)
    assert torch.equal(model(IDS), base(IDS))
    use(model, a=1, b=1)
    assert torch.equal(model(IDS), both)
    for gone, left in (("a", only_b), ("b", only_a)):
        rest = remove(copy.deepcopy(model), gone)
        assert adapter_names(rest) == ["b" if gone == "a" else "a"]
        close(rest(IDS), left)
    plain = remove(model)
    assert all(torch.equal(t, base.state_dict()[name]) for name, t in plain.state_dict().items())


@torch.no_grad()
def test_the_changes_of_two_loras_add_up_each_times_its_strength():
    base = bare_model("gpt2")
    methods = {"a": LoRA(rank=3, alpha=7), "b": LoRA(rank=2, alpha=3, rank_stabilised=True, targets=("query", "down"))}
    model = put(put(copy.deepcopy(base), methods["a"], "a", 1), methods["b"], "b", 2)
    use(model, a=0.7, b=-0.4)
    by_hand = copy.deepcopy(base)
    for path, adapter in adapters(model):
        scale = {"a": 0.7 * 7 / 3, "b": -0.4 * 3 / 2**0.5}[adapter.name]
        by_hand.get_submodule(path).weight += scale * (adapter.B @ adapter.A)
    close(model(IDS), by_hand(IDS))
    before = model(IDS)
    close(merge(model)(IDS), before)
    close(model.blocks[0].attention.query.weight, by_hand.blocks[0].attention.query.weight)
    assert torch.equal(unmerge(model)(IDS), before)
    with switched_off(model):
        assert torch.equal(model(IDS), base(IDS))
    assert torch.equal(model(IDS), before)  # the strengths are as before


@torch.no_grad()
def test_all_that_folds_is_folded_together_and_taken_out_bit_for_bit():
    base = bare_model("gpt2")
    model = copy.deepcopy(base)
    for seed, method in enumerate((LoRA(alpha=7), IA3(), BitFit(), AdaLoRA(), LoRA(rank=2))):
        put(model, method, f"{method.key}{seed}", seed)
    before = model(IDS)
    torch.testing.assert_close(merge(model)(IDS), before, atol=1e-4, rtol=1e-4)
    assert torch.equal(unmerge(model)(IDS), before)
    merge(model)
    merged = model(IDS)
    assert torch.equal(remove(model)(IDS), merged) and not adapter_names(model)


@torch.no_grad()
def test_an_adapter_that_is_switched_off_is_not_folded():
    model = put(put(bare_model(), LoRA(), "a"), SoftPrompt(), "prompt")
    use(model, a=1)
    before = model(IDS)
    close(merge(model)(IDS), before)  # a prompt that does not count is not in the way


@pytest.mark.parametrize("key", METHODS)
@torch.no_grad()
def test_half_of_it_is_used_or_refused(key):
    base, method = bare_model(), METHODS[key]()
    model = put(copy.deepcopy(base), method, "a")
    whole = model(IDS)
    if method.supports_strength:
        use(model, a=1e-4)
        torch.testing.assert_close(model(IDS), base(IDS), atol=1e-2, rtol=1e-2)
        assert not torch.equal(model(IDS), base(IDS))
    else:
        with pytest.raises(ValueError, match=rf"'a' \({key}\) is there or not: 1 or 0, not 0\.5"):
            use(model, a=0.5)
    use(model, a=1)
    assert torch.equal(model(IDS), whole)


def test_one_adapter_learns_while_the_other_stands():
    model = put(put(bare_model(), LoRA(), "a"), BitFit(), "b")
    assert freeze(model, "b") == sum(t.numel() for t in adapter_state(model, "b").values())
    model(IDS).logsumexp(-1).sum().backward()
    assert all(p.grad is None for _, a in adapters(model, "a") for p in a.own().values())
    assert any(p.grad is not None for _, a in adapters(model, "b") for p in a.own().values())
    with pytest.raises(ValueError, match="there are several adapters on this model: say which of a, b"):
        adapter_state(model)


# Under a head


@pytest.mark.parametrize("key", METHODS)
@pytest.mark.parametrize("kind", [Decoder, Encoder])
def test_a_head_learns_with_the_adapter_of_its_trunk(key, kind, tmp_path):
    model = SequenceClassifier(bare_model(kind=kind), 3)
    stir(model.head.parameters())
    bare = {name: t.clone() for name, t in model.state_dict().items()}
    assert inject(model, METHODS[key](), generator=torch.Generator().manual_seed(0)) is model
    count = freeze(model, also=("head",))
    assert count == sum(t.numel() for t in adapter_state(model).values())
    assert {"head.weight", "head.bias"} < adapter_state(model).keys()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.05)
    mask = torch.tensor([[1] * 9, [1] * 5 + [0] * 4])
    losses = []
    for _ in range(12):
        total, n = classification(model, {"input_ids": IDS, "attention_mask": mask, "labels": torch.tensor([0, 2])})
        (total / n).backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(total.detach() / n))
    assert losses[-1] < 0.7 * losses[0]
    twin = SequenceClassifier(bare_model(kind=kind), 3)
    twin = inject(twin, METHODS[key]())
    freeze(twin, also=("head",))
    load_adapter_state(twin, adapter_state(model))
    assert torch.equal(twin(IDS, mask), model(IDS, mask))
    plain = remove(model).state_dict()
    assert {name for name in plain if not torch.equal(plain[name], bare[name])} == {"head.weight", "head.bias"}


@torch.no_grad()
def test_a_prompt_stands_before_both_segments_of_a_pair_and_the_pooling_reads_the_text():
    trunk = bare_model("bert", Encoder, segments=2)
    for head in (SequenceClassifier(trunk, 3, pooling="first"), TextEncoder(trunk)):
        stir(head.parameters(), seed=5)
        model = put(head, SoftPrompt(length=4), "a")
        segments = (torch.arange(9) > 4).long()[None]
        alone = model(IDS[:1], segment_ids=segments)
        ids, mask = torch.cat((torch.zeros(1, 3).long(), IDS[:1]), 1), torch.tensor([[0] * 3 + [1] * 9])
        close(model(ids, mask, segment_ids=torch.cat((torch.zeros(1, 3).long(), segments), 1)), alone)
        assert not torch.allclose(model(IDS[:1], segment_ids=1 - segments), alone)
        trunk = remove(model).trunk


# Dropout, a context, modes


@torch.no_grad()
def test_dropout_is_the_adapters_own_and_ends_with_training():
    base = bare_model()
    fresh = inject(copy.deepcopy(base), LoRA(dropout=0.5)).train()
    assert torch.equal(fresh(IDS), base(IDS))  # B is zero, and the model's own dropout is
    model = put(copy.deepcopy(base), LoRA(dropout=0.5), "a")
    still = model.eval()(IDS)
    assert torch.equal(model(IDS), still)
    model.train()
    assert all(adapter.training for _, adapter in adapters(model)) and not torch.equal(model(IDS), model(IDS))
    torch.manual_seed(0)
    mean = torch.stack([adapters(model)[0][1](torch.ones(16)) for _ in range(1000)]).mean(0)
    torch.testing.assert_close(mean, adapters(model.eval())[0][1](torch.ones(16)), atol=0.2, rtol=0.1)


def test_a_prompt_takes_room_in_the_context_and_a_prefix_takes_none():
    long = torch.zeros(1, 40, dtype=torch.long)
    model = inject(bare_model(), SoftPrompt(length=4))
    assert model.config.context == 36 and model(long[:, :36]).shape == (1, 36, V)
    with pytest.raises(ValueError, match=r"a text of 37 tokens does not fit .* 4 vectors there is room for 36"):
        model(long[:, :37])
    with switched_off(model):
        assert model.config.context == 40 and model(long).shape == (1, 40, V)
    for method in (PrefixTuning(length=4), LlamaAdapter(length=4)):
        assert inject(bare_model(), method)(long).shape == (1, 40, V)


def test_a_compiled_adapter_is_no_constant():
    model = put(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)), LoRA(rank=2, targets=("2",)), "a")
    freeze(model)
    x = torch.randn(5, 4)
    compiled = torch.compile(model, backend="eager")  # traced as for every back end, with nothing to compile
    try:
        before = compiled(x)
    except RuntimeError as error:
        pytest.skip(f"torch.compile does not work here: {error}")
    close(before, model(x))
    before.sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    with torch.no_grad():
        stir([p for p in model.parameters() if p.requires_grad], seed=7)
        assert not torch.allclose(compiled(x), before, atol=1e-3)
        close(compiled(x), model(x))
        use(model, a=0.5)
        close(compiled(x), model(x))


# AdaLoRA's ranks


def test_the_ranks_of_adalora_fall_on_schedule_to_the_target_and_none_is_enough():
    for target, end in ((1, 12), (0.5, 6), (0, 0)):
        model = put(bare_model(), AdaLoRA(rank=4, target_rank=target, every=3), "a")
        layers = [adapter for _, adapter in adapters(model)]
        freeze(model)
        budget, totals = Budget(model, 40), []
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        for step in range(1, 41):
            model(IDS).logsumexp(-1).mean().backward()
            optimizer.step()
            budget(model, step)
            optimizer.zero_grad()
            totals.append(sum(layer.rank for layer in layers))
        chosen = [step for step in range(5, 28) if step % 3 == 0]
        assert len(layers) == 12 and totals[:4] == [48] * 4 and totals[27:] == [end] * 13
        falls = [totals[step - 1] for step in chosen]
        assert falls == [budget.ranks(step, 12) for step in chosen] == sorted(falls, reverse=True)
        expected = [end + int((48 - end) * (1 - (step - 4) / 24) ** 3) for step in chosen]  # equation 12
        assert falls == expected
        before = model(IDS)
        torch.testing.assert_close(merge(model)(IDS), before, atol=1e-4, rtol=1e-4)
        if not end:
            assert torch.equal(before, bare_model()(IDS)) and torch.equal(remove(unmerge(model))(IDS), before)


def test_orthogonality_is_a_pull_where_there_is_adalora():
    model = put(bare_model(), AdaLoRA(rank=2, target_rank=1), "a")
    assert orthogonality(model) > 0 and orthogonality(bare_model()) == 0
    close(orthogonality(model, 1.0), 2 * orthogonality(model))
    with torch.no_grad():
        for _, adapter in adapters(model):
            adapter.P.copy_(torch.linalg.qr(adapter.P)[0])
            adapter.Q.copy_(torch.linalg.qr(adapter.Q.mT)[0].mT)
    assert orthogonality(model).item() < 1e-5
