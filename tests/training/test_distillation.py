"""Divergences against torch's and trl's; what a student becomes; texts of its own."""

import doctest
import importlib.util
import warnings

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from minillm.data import IGNORE_INDEX
from minillm.inference import OwnTexts
from minillm.models import BigramLM, Decoder, ModelConfig
from minillm.training import TrainConfig, distillation, fit, forward_kl, mean_loss, reverse_kl, teacher_of
from minillm.training import distillation as _face  # noqa: F401


def logits(seed, shape=(2, 5, 9)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2


def batch():
    ids = torch.randint(0, 9, (2, 6), generator=torch.Generator().manual_seed(0))
    labels = ids.clone()
    labels[0, :3] = IGNORE_INDEX
    return {"input_ids": ids, "labels": labels}


def student(seed=0):
    torch.manual_seed(seed)
    model = Decoder(ModelConfig(9, 8, 1, 16, 2))
    torch.nn.init.normal_(model.head.weight, std=0.3)
    return model


def test_the_divergences_are_torch_s():
    teacher, own = logits(0), logits(1)
    p, q = Categorical(logits=teacher), Categorical(logits=own)
    torch.testing.assert_close(forward_kl(teacher.log_softmax(-1), own), kl_divergence(p, q))
    torch.testing.assert_close(reverse_kl(teacher.log_softmax(-1), own), kl_divergence(q, p))
    impossible = torch.tensor([[0.0, 1.0, 0.0]]).log()
    assert forward_kl(impossible, torch.zeros(1, 3)).isfinite() and reverse_kl(impossible, torch.zeros(1, 3)) > 10


@pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="trl is not installed")
@pytest.mark.parametrize(("kind", "beta"), [("forward", 0), ("reverse", 1)])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
def test_loss_and_gradient_are_trl_s(kind, beta, temperature):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from trl.experimental.gkd import GKDTrainer

    model, teacher = student(), student(1)
    loss, count = distillation(teacher_of(teacher), kind, temperature)(model, batch())
    (loss / count).backward()
    ours = model.head.weight.grad.clone()
    model.zero_grad()
    ids, labels = batch()["input_ids"][:, :-1], batch()["labels"][:, 1:]
    theirs = GKDTrainer.generalized_jsd_loss(
        model(ids), teacher(ids).detach(), labels, beta=beta, temperature=temperature
    )
    theirs.backward()
    torch.testing.assert_close(loss / count, temperature**2 * theirs)
    torch.testing.assert_close(ours, temperature**2 * model.head.weight.grad, atol=1e-6, rtol=1e-4)


def test_a_share_of_it_leaves_the_rest_to_the_labels():
    from minillm.training import causal_lm

    model, teacher = student(), teacher_of(student(1))
    whole, count = distillation(teacher)(model, batch())
    hard, number = causal_lm(model, batch())
    mixed, _ = distillation(teacher, share=0.3)(model, batch())
    torch.testing.assert_close(mixed, 0.3 * whole + 0.7 * hard)
    assert count == number == 8
    with pytest.raises(ValueError, match="unknown kind 'both': choose one of forward, reverse"):
        distillation(teacher, "both")
    with pytest.raises(ValueError, match=r"temperature is 0 and share 1\.0"):
        distillation(teacher, temperature=0)


def world(ids, mask=None):
    """A known world as a teacher: after token a comes a + 1 or a + 2, one as likely as the other."""
    probabilities = torch.zeros(*ids.shape, 9)
    for step in (1, 2):
        probabilities.scatter_(-1, ((ids + step) % 9)[..., None], 0.5)
    return probabilities.log()


@pytest.mark.parametrize("kind", ["forward", "reverse"])
@pytest.mark.parametrize("on_policy", [False, True])
def test_a_student_of_a_known_world_comes_to_its_distribution(kind, on_policy):
    model = BigramLM(9)
    off = [{"input_ids": (row := torch.arange(20).view(2, 10) % 9), "labels": row}]
    batches = OwnTexts(model, [[0], [4]], 8, 12, seed=0) if on_policy else off
    config = TrainConfig(steps=120, optimizer="adamw", learning_rate=0.2, clip=0.0)
    fit(model, distillation(world, kind), batches, config, progress=False)
    found = model(torch.arange(9)[None])[0].softmax(-1)
    wanted = world(torch.arange(9)[None])[0].exp()
    assert (found - wanted).abs().max() < 0.1
    assert mean_loss(model, distillation(world, kind), off) < 0.2


def test_own_texts_are_of_the_model_as_it_is_and_end_where_they_end():
    model = BigramLM(5)
    model.table.weight.data = torch.full((5, 5), -99.0)
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 3)):
        model.table.weight.data[a, b] = 99.0
    found = OwnTexts(model, [[0]], 2, 5, stop=[3]).batch()
    assert found["input_ids"].tolist() == [[0, 1, 2, 3]] * 2 and found["labels"].tolist() == [[-100, 1, 2, 3]] * 2
    model.table.weight.data[0] = torch.tensor([-99.0, -99, -99, 99, -99])
    found = OwnTexts(model, [[0], [1]], 40, 5, stop=[3], seed=1).batch()
    rows = {(tuple(a), tuple(b)) for a, b in zip(found["input_ids"].tolist(), found["labels"].tolist())}
    assert rows == {((0, 3, 0), (-100, 3, -100)), ((1, 2, 3), (-100, 2, 3))}
    with pytest.raises(ValueError, match="of one length"):
        OwnTexts(model, [[0], [1, 2]], 2, 5)


def test_the_worked_examples_are_true():
    import sys

    module = sys.modules["minillm.training.distillation"]
    assert doctest.testmod(module, extraglobs={"torch": torch}).failed == 0
