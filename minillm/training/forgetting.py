"""Continual learning: how to learn a new task without forgetting the old one, and how to measure what was forgotten.

A model that is trained on one task after another forgets the first, whose loss is no longer part of the objective
(McCloskey & Cohen 1989, "Catastrophic interference"). Each remedy changes one part of training and nothing else:

    l2_sp, ewc        a loss with a penalty on the distance from the old weights
    interpolate       weights between those before and after
    data.Mixed        batches of the old task among those of the new (rehearsal)
    peft.selective    fewer weights that can change

Three measures sum up a sequence of tasks: the average score, backward and forward transfer.
Left out: gradients projected so as not to harm the old task (GEM), distillation from the old model, growing networks.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from minillm.data import IGNORE_INDEX
from minillm.models import evaluating
from minillm.training.losses import masked_lm_sum
from minillm.training.objectives import LossFunction, penalised
from minillm.training.runs import unwrap

Weights = dict[str, Tensor]
ScoreTable = Sequence[Sequence[float]]


def weights_of(model: nn.Module) -> Weights:
    """A copy of every parameter as it is now, by name: the start that `l2_sp` and `ewc` measure distances from."""
    return {name: p.detach().clone() for name, p in unwrap(model).named_parameters()}


def l2_sp(loss_fn: LossFunction, start: Weights, alpha: float, beta: float = 0.0) -> LossFunction:
    """The mean loss + alpha / 2 ||w - start||^2 over the weights in `start` + beta / 2 ||w||^2 over all others.

    This is weight decay towards the old weights (as of `weights_of`), and towards 0 for what is new, such as a head.
    Raises: ValueError, in the loss, for a model that has none of these weights, or has them in another shape.
    Source: Li et al. 2018, "Explicit inductive bias for transfer learning", equations 2 and 3.
    """
    distance = quadratic_penalty(start, dict.fromkeys(start, alpha))

    def penalty(model: nn.Module) -> Tensor:
        new = (p.square().sum() for name, p in unwrap(model).named_parameters() if name not in start)
        return distance(model) + (beta / 2 * sum(new) if beta else 0)  # equation 3

    return penalised(loss_fn, penalty)


def ewc(loss_fn: LossFunction, start: Weights, fisher: Weights, strength: float) -> LossFunction:
    """The mean loss + strength / 2 * sum_i F_i (w_i - start_i)^2: elastic weight consolidation.

    Weights that matter for the old task have a large Fisher information F and hardly move; the others are free. After
    several tasks, wrap once for each.
    Args: start: the weights after the old task; fisher: of `fisher_diagonal` on the old task.
    Raises: ValueError, in the loss, as that of `l2_sp`.
    Source: Kirkpatrick et al. 2017, equation 3.
    """
    return penalised(loss_fn, quadratic_penalty(start, {name: strength * F for name, F in fisher.items()}))


def quadratic_penalty(start: Weights, strength: dict[str, Tensor | float]) -> Callable[[nn.Module], Tensor]:
    """A penalty: penalty(model) = sum_i s_i / 2 (w_i - start_i)^2 over the weights named in `strength`."""
    held = {name: (start[name], torch.as_tensor(s)) for name, s in strength.items()}

    def penalty(model: nn.Module) -> Tensor:
        terms = []
        for name, parameter in unwrap(model).named_parameters():
            if name in held:
                old, s = held[name] = tuple(t.to(parameter.device) for t in held[name])  # copied once
                if old.shape != parameter.shape:
                    raise ValueError(f"{name} is {list(parameter.shape)} in this model and was {list(old.shape)}")
                terms.append((s * (parameter - old).square()).sum() / 2)
        if not terms:
            names = ", ".join([*held][:3]) or "any given"
            raise ValueError(f"the model has no weight to hold: none is named as {names}")
        return torch.stack(terms).sum()

    return penalty


def fisher_diagonal(
    model: nn.Module, predict: Callable, batches: Iterable[dict], generator: torch.Generator | None = None
) -> Weights:
    """How much each weight matters: the mean over examples of (d log p(labels | inputs) / d weight)^2, by name.

    With a generator the labels are sampled from the model's predictions, each token given the true text before it.
    This is the Fisher information; that of a text is then on average the sum of its tokens', whose samples are
    independent. Without one the labels are the data's: the "empirical Fisher" (Kunstner et al. 2019), which is large
    where the model is wrong, too. Dropout is off, and frozen weights are left out.

    Args:
        predict: (model, batch) -> logits (..., K) and labels (...), such as `next_tokens`
        batches: an example is a row; p is that of all its labels at once: of a text, the product over its tokens
        generator: of the CPU
    Raises: ValueError when there are no examples, or no weights that are trained.
    """
    parameters = {name: p for name, p in unwrap(model).named_parameters() if p.requires_grad}
    squares, examples = {name: torch.zeros_like(p) for name, p in parameters.items()}, 0
    with evaluating(model):
        for example in _rows(batches) if parameters else ():
            example = {key: value.to(next(model.parameters()).device) for key, value in example.items()}
            logits, labels = predict(model, example)
            if generator is not None:
                labels = sample_labels(logits, labels, generator)
            logprob = -masked_lm_sum(logits, labels)[0]
            gradients = torch.autograd.grad(logprob, list(parameters.values()), materialize_grads=True)
            for square, gradient in zip(squares.values(), gradients):
                square.addcmul_(gradient, gradient)
            examples += 1
    if not examples:
        raise ValueError("the Fisher information needs an example, and a weight that is not frozen: there is none")
    return {name: square / examples for name, square in squares.items()}


def _rows(batches: Iterable[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """The examples of batches one by one: the mean of squares is not the square of the mean."""
    for batch in batches:
        for row in zip(*(value.split(1) for value in batch.values())):
            yield dict(zip(batch, row))


@torch.no_grad()
def sample_labels(logits: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Labels sampled from softmax(logits) where labels are not ignored. logits (..., K), labels (...)."""
    flat = logits.flatten(0, -2).float().softmax(-1).cpu()
    sampled = torch.multinomial(flat, 1, generator=generator).view(labels.shape).to(labels.device)
    return torch.where(labels == IGNORE_INDEX, labels, sampled)


def interpolate(before: Weights, after: Weights, share: float) -> Weights:
    """(1 - share) * before + share * after, of two state_dicts.

    On the straight line between the weights before and after fine-tuning there are often models that keep much of the
    old task and have most of the new. 0 gives `before`, 1 `after`.
    Raises: ValueError for other shares than from 0 to 1, and for different models.
    Source: Wortsman et al. 2022, "WiSE-FT", section 3.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of the later weights is {share}: it must lie between 0 and 1")
    _same_parts(before, after)
    return {name: t.lerp(after[name], share) if t.is_floating_point() else after[name] for name, t in before.items()}


def average(states: Sequence[Weights]) -> Weights:
    """The mean of several state_dicts, fine-tuned from the same model; of integers, the last.

    Raises: ValueError for none, and for different models.
    Source: Wortsman et al. 2022, "Model soups": the uniform soup.
    """
    if not states:
        raise ValueError("there are no weights to average")
    _same_parts(*states)
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if last.is_floating_point() else last
        for name, last in states[-1].items()
    }


def _same_parts(*states: Weights) -> None:
    first, *others = [{(name, tensor.shape) for name, tensor in state.items()} for state in states]
    different = sorted({name for other in others for name, _ in first ^ other})
    if different:
        raise ValueError(f"these are weights of different models: they differ in {', '.join(different[:3])}")


def average_score(scores: ScoreTable) -> float:
    """The mean score over all tasks after the last was learned.

    Args: scores[i][j]: on task j after learning task i, higher is better; of losses, give the negative.
    Raises: ValueError for a table that is not square.
    Source: Lopez-Paz & Ranzato 2017, equation 2; the next two are equations 3 and 4.

    >>> scores = [[0.9, 0.1], [0.6, 0.8]]     # learning the second cost 0.3 of the first
    >>> average_score(scores), backward_transfer(scores), forward_transfer(scores, [0.0, 0.0])
    (0.7, -0.3, 0.1)
    """
    _check_square(scores)
    return sum(scores[-1]) / len(scores)


def backward_transfer(scores: ScoreTable) -> float:
    """What later tasks did to earlier ones, on average; negative: forgotten. Raises ValueError without two tasks."""
    _check_square(scores, least=2)
    return sum(scores[-1][j] - scores[j][j] for j in range(len(scores) - 1)) / (len(scores) - 1)  # equation 3


def forward_transfer(scores: ScoreTable, baseline: Sequence[float]) -> float:
    """How much the earlier tasks helped each task before it was learned itself, on average.

    Args: baseline: the score on each task of an untrained model.
    Raises: ValueError when there are fewer than two tasks, or not one baseline for each.
    """
    _check_square(scores, least=2)
    if len(baseline) != len(scores):
        raise ValueError(f"there are {len(baseline)} baselines for {len(scores)} tasks: give one for each")
    return sum(scores[j - 1][j] - baseline[j] for j in range(1, len(scores))) / (len(scores) - 1)  # 4


def _check_square(scores: ScoreTable, least: int = 1) -> None:
    lengths = [len(row) for row in scores]
    if len(scores) < least or set(lengths) != {len(scores)}:
        wanted = f"they must be square, a row and a column for each of at least {least} tasks"
        raise ValueError(f"the scores have {len(scores)} rows of {lengths}: {wanted}")
