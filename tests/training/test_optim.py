"""Who is optimized by what, schedules at their corners, and states that come back."""

import pytest
import torch

from minillm.models import RECIPES, Decoder, ModelConfig, layer_depths
from minillm.training import OPTIMIZERS, TrainConfig, build_optimizer, orthogonalise, schedule, set_rates
from minillm.training.optim import Muon, split_parameters


def model(**changes):
    torch.manual_seed(0)
    return Decoder(ModelConfig(**({"vocab_size": 20, "context": 8, "layers": 2, "width": 16, "heads": 2} | changes)))


def train_a_step(model, optimizer):
    torch.manual_seed(1)
    optimizer.zero_grad()
    model(torch.randint(0, 20, (2, 8))).float().square().mean().backward()
    optimizer.step()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_trainable_parameter_is_in_exactly_one_group(name):
    for recipe in RECIPES:
        decoder = model(recipe=recipe)
        optimizer = build_optimizer(decoder, name)
        ids = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert len(ids) == len(set(ids)) and set(ids) == {id(p) for p in decoder.parameters()}


def test_matrices_tables_and_vectors_are_told_apart():
    decoder = model(recipe="gpt2")
    matrices, tables, head, vectors = split_parameters(decoder)
    assert len(matrices) == 2 * 6
    assert {id(p) for p in tables} == {id(decoder.embedding.weight), id(decoder.position.weight)}
    assert head == [] and all(p.dim() == 1 for p in vectors)  # gpt2 ties the output layer to the embedding
    assert split_parameters(model()).head[0].shape == (20, 16)


def test_each_kind_of_parameter_has_its_own_learning_rate():
    decoder = model()
    optimizer = build_optimizer(decoder, "muon", 0.1, 0.2, 0.3)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(decoder.embedding.weight)] == 0.1 and rates[id(decoder.head.weight)] == 0.3
    assert rates[id(decoder.blocks[0].attention.query.weight)] == 0.2
    for name in ("adamw", "sgd"):
        assert {group["lr"] for group in build_optimizer(decoder, name, 0.1, 0.2).param_groups} == {0.1}


@pytest.mark.parametrize(("name", "theirs"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_sgd_and_adamw_are_torch_s_with_weight_decay_for_matrices_alone(name, theirs):
    ours, same = model(recipe="gpt2"), model(recipe="gpt2")
    matrices, vectors = ([p for p in same.parameters() if (p.dim() > 1) == wide] for wide in (True, False))
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    options = {"momentum": 0.9} if name == "sgd" else {"betas": (0.9, 0.95), "fused": True}
    optimizers = build_optimizer(ours, name, 0.05, weight_decay=0.1), theirs(groups, lr=0.05, **options)
    for _ in range(4):
        train_a_step(ours, optimizers[0])
        train_a_step(same, optimizers[1])
    assert all(torch.equal(p, q) for p, q in zip(ours.parameters(), same.parameters()))
    assert not torch.equal(ours.norm.bias, model(recipe="gpt2").norm.bias)


def test_an_optimizer_is_one_entry_of_one_table(monkeypatch):
    with pytest.raises(ValueError, match=f"unknown optimizer 'rprop': choose one of {', '.join(OPTIMIZERS)}"):
        build_optimizer(model(), "rprop")
    with pytest.raises(ValueError, match="unknown optimizer 'rprop'"):
        TrainConfig(optimizer="rprop")
    plain = lambda groups, lr: torch.optim.Rprop([{**g, "weight_decay": 0} for g in groups], lr)  # noqa: E731
    monkeypatch.setitem(OPTIMIZERS, "rprop", OPTIMIZERS["sgd"]._replace(others=plain))
    assert TrainConfig(optimizer="rprop").optimizer == "rprop"
    (rprop,) = build_optimizer(model(), "rprop").optimizers
    assert isinstance(rprop, torch.optim.Rprop)
    for spec in OPTIMIZERS.values():
        assert 0 < spec.learning_rate < 1 and 0 < spec.head_learning_rate < 1
        assert (spec.matrix_learning_rate > 0) == (spec.matrices is not None)


@pytest.mark.parametrize("shape", [(8, 8), (8, 32), (32, 8)])
def test_orthogonalising_keeps_the_singular_vectors_and_evens_the_values(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    came = orthogonalise(matrices)
    for matrix, result in zip(matrices, came):
        U, S, V = torch.linalg.svd(matrix, full_matrices=False)
        core = U.T @ result @ V.T  # diagonal if the singular vectors are the same
        assert torch.allclose(core, core.diag().diag(), atol=1e-4)
        assert 0.6 < core.diag()[S > 0.05 * S.max()].min() and core.diag().max() < 1.25
        assert torch.allclose(result, orthogonalise(matrix[None])[0], atol=1e-5)  # a batch is as one by one


def test_muon_is_torchs_muon():
    generator = torch.Generator().manual_seed(0)
    shapes = [(8, 8), (8, 24), (24, 8), (8, 8)]
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    a = Muon(ours, lr=0.02, momentum=0.9, weight_decay=0.1, dtype=torch.bfloat16)
    b = torch.optim.Muon(theirs, lr=0.02, momentum=0.9, weight_decay=0.1)
    exact = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    c = Muon(exact, lr=0.02, momentum=0.9, weight_decay=0.1)
    for _ in range(5):
        for p, q, r in zip(ours, theirs, exact):
            p.grad = torch.randn(p.shape, generator=generator)
            q.grad, r.grad = p.grad.clone(), p.grad.clone()
        a.step(), b.step(), c.step()
    for p, q, r in zip(ours, theirs, exact):
        assert torch.allclose(p, q, atol=2e-3), (p - q).abs().max()
        assert torch.allclose(p, r, atol=1e-2), (p - r).abs().max()  # bf16 against fp32


def test_frozen_parameters_are_left_out_and_a_frozen_model_is_refused():
    decoder = model()
    decoder.embedding.requires_grad_(False)
    optimizer = build_optimizer(decoder)
    before = decoder.embedding.weight.clone()
    train_a_step(decoder, optimizer)
    assert torch.equal(before, decoder.embedding.weight)
    with pytest.raises(ValueError, match="no trainable parameters"):
        build_optimizer(decoder.requires_grad_(False))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_state_goes_on_as_if_nothing_had_happened(name):
    straight, resumed = model(), model()
    a, b = build_optimizer(straight, name), build_optimizer(resumed, name)
    for _ in range(2):
        train_a_step(straight, a)
        train_a_step(resumed, b)
    c = build_optimizer(resumed, name)
    c.load_state_dict(b.state_dict())
    train_a_step(straight, a)
    train_a_step(resumed, c)
    assert all(torch.equal(p, q) for p, q in zip(straight.parameters(), resumed.parameters()))


def test_a_change_of_the_learning_rate_reaches_both_optimizers():
    decoder = model()
    optimizer = build_optimizer(decoder)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    before = [p.clone() for p in decoder.parameters()]
    train_a_step(decoder, optimizer)
    assert all(torch.equal(p, q) for p, q in zip(before, decoder.parameters()))


def test_schedules_at_their_corners():
    assert [schedule(s, 8, 2, "linear", 0.5) for s in range(8)] == [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert schedule(0, 100, 0, "constant") == 1 and schedule(99, 100, 10, "constant") == 1
    assert schedule(10, 100, 10, "cosine") == 1 and schedule(100, 100, 10, "cosine") == pytest.approx(0.1)
    with pytest.raises(ValueError, match="unknown decay"):
        schedule(5, 10, 0, "square")


def group_of(optimizer, parameter):
    (group,) = [g for g in optimizer.param_groups if any(p is parameter for p in g["params"])]
    return group


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_layer_learns_more_slowly_than_the_one_above(name):
    decoder = model(recipe="llama", layers=3)
    plain, layered = (build_optimizer(decoder, name, 0.1, 0.2, 0.3, 0.5, layer_decay=d) for d in (1.0, 0.25))
    depths = layer_depths(decoder)
    assert set(depths.values()) == {0, 1, 2, 3, 4}
    for parameter_name, parameter in decoder.named_parameters():
        before, after = group_of(plain, parameter), group_of(layered, parameter)
        assert after["lr"] == after["initial_lr"] == pytest.approx(before["lr"] * 0.25 ** depths[parameter_name])
        assert after["weight_decay"] == before["weight_decay"] and "start" not in after
    rates = [group_of(layered, block.attention.query.weight)["lr"] for block in decoder.blocks]
    top = 0.2 if name == "muon" else 0.1
    assert rates == pytest.approx([top / 64, top / 16, top / 4])
    assert group_of(layered, decoder.head.weight)["lr"] == 0.3
    assert group_of(layered, decoder.norm.weight)["lr"] == pytest.approx(0.1 / 4)  # with the last layer


def test_the_uppermost_layer_that_learns_has_the_whole_rate():
    decoder = model()
    decoder.head.requires_grad_(False)
    optimizer = build_optimizer(decoder, "adamw", 0.1, layer_decay=0.5)
    rates = [group_of(optimizer, block.attention.query.weight)["lr"] for block in decoder.blocks]
    assert rates == [0.05, 0.1] and group_of(optimizer, decoder.embedding.weight)["lr"] == 0.025


def test_layers_begin_from_above_in_equal_shares_of_the_run():
    decoder = model()
    optimizer = build_optimizer(decoder, unfreeze=100)
    starts = [
        group_of(optimizer, p)["start"]
        for p in (
            decoder.head.weight,
            *(b.attention.query.weight for b in decoder.blocks[::-1]),
            decoder.embedding.weight,
        )
    ]
    assert starts == [0, 25, 50, 75]
    assert all(group["start"] is not None for group in optimizer.param_groups)
    for step in (0, 24, 25, 60, 75, 99):
        set_rates(optimizer, step, 0.5)
        for group in optimizer.param_groups:
            assert group["lr"] == 0.5 * group["initial_lr"]
            assert all(p.requires_grad == (step >= group["start"]) for p in group["params"])


def test_rates_leave_a_parameter_that_the_caller_froze_alone():
    decoder = model()
    optimizer = build_optimizer(decoder)
    decoder.embedding.requires_grad_(False)
    set_rates(optimizer, 5, 1.0)
    assert not decoder.embedding.weight.requires_grad


def test_a_saved_state_of_many_groups_comes_back_before_all_have_begun():
    straight, resumed = model(), model()
    a, b = (build_optimizer(m, unfreeze=4, layer_decay=0.5) for m in (straight, resumed))

    def step(decoder, optimizer, number):
        set_rates(optimizer, number, 1.0)
        train_a_step(decoder, optimizer)

    for number in range(2):
        step(straight, a, number), step(resumed, b, number)
    c = build_optimizer(resumed.requires_grad_(True), unfreeze=4, layer_decay=0.5)
    c.load_state_dict(b.state_dict())
    for number in range(2, 5):
        step(straight, a, number), step(resumed, c, number)
    assert all(torch.equal(p, q) for p, q in zip(straight.parameters(), resumed.parameters()))
