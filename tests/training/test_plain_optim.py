"""The optimizers of the blackboard are torch's, and those that `fit` uses; and the worked examples are true."""

import doctest

import pytest
import torch

from minillm.training import (
    PLAIN_STEPS,
    adam_step,
    adamw_step,
    build_optimizer,
    descend,
    momentum_step,
    muon_step,
    plain_optim,
    sgd_step,
)  # fmt: skip
from minillm.training.optim import Muon

THEIRS = {
    "sgd": (sgd_step, torch.optim.SGD, {"lr": 0.1}),
    "momentum": (momentum_step, torch.optim.SGD, {"lr": 0.1, "momentum": 0.8}),
    "adam": (adam_step, torch.optim.Adam, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-6}),
    "adamw": (adamw_step, torch.optim.AdamW, {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.3}),
    "muon": (muon_step, Muon, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.3}),
}


def test_every_optimizer_of_the_table_is_compared():
    assert {name: row[0] for name, row in THEIRS.items()} == PLAIN_STEPS


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_a_plain_step_is_that_of_the_optimizer_and_changes_nothing_in_place(name, shape):
    step, optimizer, rates = THEIRS[name]
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(shape, generator=generator, dtype=torch.float64)
    theirs = torch.nn.Parameter(weight.clone())
    other = optimizer([theirs], **rates, **({"dtype": torch.float64} if name == "muon" else {}))
    state = None
    for _ in range(6):
        gradient = torch.randn(shape, generator=generator, dtype=torch.float64)
        theirs.grad, before = gradient.clone(), (weight.clone(), gradient.clone())
        other.step()
        moved, state = step(weight, gradient, state, **rates)
        assert torch.equal(weight, before[0]) and torch.equal(gradient, before[1])
        weight = moved
        torch.testing.assert_close(weight, theirs.detach(), rtol=1e-11, atol=1e-11)


def test_muon_is_torch_s_within_the_bf16_that_torch_takes():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(8, 12, generator=generator)
    theirs, state = torch.nn.Parameter(weight.clone()), None
    other = torch.optim.Muon([theirs], lr=0.02, momentum=0.9, weight_decay=0.1)
    for _ in range(5):
        theirs.grad = torch.randn(8, 12, generator=generator)
        other.step()
        weight, state = muon_step(weight, theirs.grad, state, lr=0.02, momentum=0.9, weight_decay=0.1)
    torch.testing.assert_close(weight, theirs.detach(), atol=1e-2, rtol=0)


def test_sgd_by_hand_moves_a_model_as_the_command_s_optimizer_does():
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    hand, states = {name: p.detach().clone() for name, p in model.named_parameters()}, {}
    optimizer = build_optimizer(model, "sgd", 0.1)
    for seed in range(4):
        x = torch.randn(7, 5, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        model(x).square().mean().backward()
        for name, p in model.named_parameters():
            hand[name], states[name] = momentum_step(hand[name], p.grad, states.get(name), lr=0.1)
        optimizer.step()
    for name, p in model.named_parameters():
        torch.testing.assert_close(hand[name], p.detach())


def test_on_a_quadratic_valley_each_walks_as_the_closed_form_says():
    curvature = torch.tensor([1.0, 25.0])
    f = lambda w: (curvature * w.square()).sum() / 2  # noqa: E731
    path = descend(f, torch.tensor([1.0, 1.0]), sgd_step, 30, lr=0.03)
    torch.testing.assert_close(path, (1 - 0.03 * curvature) ** torch.arange(31.0)[:, None])
    assert f(descend(f, torch.tensor([1.0, 1.0]), sgd_step, 30, lr=0.081)[-1]) > f(path[0])  # 2 / 25 is the limit
    assert f(descend(f, torch.tensor([1.0, 1.0]), momentum_step, 30, lr=0.03, momentum=0.5)[-1]) < f(path[-1])


def test_the_worked_examples_are_true():
    assert doctest.testmod(plain_optim, extraglobs={"torch": torch}).failed == 0
