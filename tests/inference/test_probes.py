"""Probes against scikit-learn's logistic regression, and controls that are at chance where nothing is to be read."""

import math

import pytest
import torch

from minillm.inference import fit_probe, probe

linear = pytest.importorskip("sklearn.linear_model")


def data(N=300, C=6, K=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(N, C, generator=generator) * torch.arange(1, C + 1) + 5
    scores = x @ torch.randn(C, K, generator=torch.Generator().manual_seed(9)) / 3
    return x, (scores + torch.randn(N, K, generator=generator)).argmax(1)


@pytest.mark.parametrize("penalty", [0.1, 1.0, 20.0])
def test_a_probe_is_the_logistic_regression_of_scikit_learn(penalty):
    x, labels = data()
    ours = fit_probe(x, labels, 3, penalty)
    z = (x - x.mean(0)) / x.std(0, correction=0)
    theirs = linear.LogisticRegression(C=1 / penalty, tol=1e-8, max_iter=2000).fit(z.numpy(), labels.numpy())
    expected = torch.tensor(theirs.decision_function(z.numpy())).log_softmax(-1).float()
    torch.testing.assert_close(ours.logits(x).log_softmax(-1), expected, atol=5e-3, rtol=0)
    assert ours.accuracy(x, labels) == pytest.approx(theirs.score(z.numpy(), labels.numpy()))


def test_controls_stand_beside_the_score():
    (x, labels), (x_test, truth) = data(2000), data(1000, seed=1)
    noise, noise_test = torch.randn_like(x), torch.randn_like(x_test)
    found = probe((x, labels), (x_test, truth), (noise, noise_test))
    assert found.accuracy > 0.8
    assert found.majority == (truth == labels.mode()[0]).float().mean().item()
    assert found.shuffled < found.majority + 0.05 and abs(found.embedding - found.majority) < 0.08
    assert math.isnan(probe((x, labels), (x_test, truth)).embedding)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(ValueError, match="0 vectors and 0 labels"):
        fit_probe(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 2)
    with pytest.raises(ValueError, match="labels lie from 0 to 2: there are 2 classes"):
        fit_probe(torch.zeros(3, 3), torch.arange(3), 2)
