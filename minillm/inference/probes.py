"""Linear probes: can something be read off a model's vectors by a straight line, and is that more than chance?

A probe is a logistic regression on frozen vectors (Alain & Bengio 2016). A high score alone says little: the probe may
have learned the task itself, or what a token gives away. So it comes with controls: the majority class, a probe whose
training labels were shuffled (Hewitt & Liang 2019), and one on the embeddings, which know nothing of what came before.
Left out: probes with hidden layers, which compute more than they read.

Shapes: N vectors, C channels, K classes.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Probe(NamedTuple):
    """A fitted probe: logits of x (N, C) are (x - mean) / deviation @ weight + bias."""

    weight: Tensor  # (C, K)
    bias: Tensor  # (K,)
    mean: Tensor  # (C,)
    deviation: Tensor  # (C,)

    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K)."""
        return (x.float() - self.mean) / self.deviation @ self.weight + self.bias

    def predict(self, x: Tensor) -> Tensor:
        """The likeliest class of each, (N,)."""
        return self.logits(x).argmax(-1)

    def accuracy(self, x: Tensor, labels: Tensor) -> float:
        """The share that it gets right."""
        return (self.predict(x) == labels).float().mean().item()


class ProbeScores(NamedTuple):
    """The accuracy of a probe on vectors that it was not fitted on, and of its controls."""

    accuracy: float
    majority: float  # always the class that is commonest in training
    shuffled: float  # fitted to labels in random order: what a probe can do without knowing
    embedding: float  # fitted to the embeddings of the same tokens; nan without any


def fit_probe(x: Tensor, labels: Tensor, classes: int, penalty: float = 1.0, steps: int = 100) -> Probe:
    """The logistic regression of labels (N,) on x (N, C), standardised: the minimum of a convex function, by L-BFGS.

    Minimised is the summed cross-entropy + penalty / 2 ||weight||^2, so sklearn's LogisticRegression with C = 1 /
    penalty on standardised x is the same.

    Raises: ValueError for no vectors, and for labels that are not below `classes`.
    """
    if not len(x) or len(x) != len(labels):
        raise ValueError(f"{len(x)} vectors and {len(labels)} labels: there must be as many, and some")
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels lie from {labels.min()} to {labels.max()}: there are {classes} classes, from 0")
    x = x.detach().float()
    mean, deviation = x.mean(0), x.std(0, correction=0).clamp(min=1e-6)
    z = (x - mean) / deviation
    weight = torch.zeros(x.size(1), classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe", tolerance_grad=1e-5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(z @ weight + bias, labels) + penalty / (2 * len(z)) * weight.square().sum()
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return Probe(weight.detach(), bias.detach(), mean, deviation)


def probe(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    embeddings: tuple[Tensor, Tensor] | None = None,
    penalty: float = 1.0,
    seed: int = 0,
) -> ProbeScores:
    """Fit a probe and its controls on `train`, and score them on `test`.

    Vectors of one text belong on one side: a probe may otherwise recognise the text.

    Args: train, test: vectors (N, C) and labels (N,); embeddings: of the same tokens, for `train` and for `test`.
    """
    (x, labels), (x_test, truth) = train, test
    classes = int(max(labels.max(), truth.max())) + 1
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    commonest = torch.bincount(labels, minlength=classes).argmax()
    return ProbeScores(
        fit_probe(x, labels, classes, penalty).accuracy(x_test, truth),
        (truth == commonest).float().mean().item(),
        fit_probe(x, labels[order], classes, penalty).accuracy(x_test, truth),
        float("nan")
        if embeddings is None
        else fit_probe(embeddings[0], labels, classes, penalty).accuracy(embeddings[1], truth),
    )
