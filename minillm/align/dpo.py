"""Direct preference optimisation: the policy is its own reward model (Rafailov et al. 2023).

The reward that a policy implies is how much likelier it makes an answer than a frozen reference does; so preferences
can be learned like any labels, without sampling and without a second model in memory: the reference's log-probability
of an answer never changes, and is computed once. Dropout is off, so that policy and reference begin as one.

Shapes: B pairs, T time.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from minillm.align.pairs import next_tokens_of_pairs, split_answers
from minillm.align.reward import pair_of_answers
from minillm.align.rollout import Conversation, check_vocabulary, scatter_to_mask
from minillm.data import IGNORE_INDEX, Padded
from minillm.models import evaluating
from minillm.system import ALONE, Alone, Compute, pick_device
from minillm.text import Tokenizer
from minillm.training import History, TrainConfig, dpo_loss, fit, ipo_loss, next_tokens, preparing, simpo_loss

Loss = Callable[..., tuple[Tensor, Tensor, Tensor]]  # of four (B,): policy and reference, chosen and rejected
BETAS = {"dpo": 0.1, "ipo": 0.1, "simpo": 2.0}  # of SimPO the paper's, whose rewards are of a token and so are small
LOSSES = tuple(BETAS)


def logprobs_of_batch(model: nn.Module, batch: dict[str, Tensor], average: bool = False, read=next_tokens) -> Tensor:
    """log p of each answer of a batch in nats, (2 B,): the sum over its tokens, or their mean.

    Args: read: how the model reads a batch: row by row, or `next_tokens_of_pairs`, with the same result.
    """
    logits, tokens = read(model, batch)  # of labelled places alone
    logprobs = -nn.functional.cross_entropy(logits.float(), tokens, reduction="none")
    counted = batch["labels"][:, 1:] != IGNORE_INDEX
    total = scatter_to_mask(logprobs, counted).sum(1)
    return total / counted.sum(1).clamp(min=1) if average else total


def pair_logprob(model: nn.Module, batch: dict[str, Tensor], average: bool = False) -> Tensor:
    """`logprobs_of_batch` of pairs in neighbouring rows: what both begin with is read once."""
    return logprobs_of_batch(model, batch, average, next_tokens_of_pairs)


def loss_named(
    name: str, beta: float | None = None, gamma: float | None = None, label_smoothing: float | None = None
) -> Loss:
    """One of LOSSES as a function of policy and reference log-probabilities.

    Args:
        beta: without one, that of BETAS; label_smoothing: of DPO alone (default: 0)
        gamma: of SimPO alone (default: 0.5, a quarter of beta, as in the authors' code)
    Raises: ValueError for an unknown loss, and for settings that it cannot have.
    """
    if name not in LOSSES:
        raise ValueError(f"unknown loss {name!r}: choose one of {', '.join(LOSSES)}")
    beta = BETAS[name] if beta is None else beta
    for setting, value, owner in (("gamma", gamma, "simpo"), ("label_smoothing", label_smoothing, "dpo")):
        if value is not None and name != owner:
            raise ValueError(f"{setting} is a setting of {owner}, and {name} has none: leave it out")
    loss: Loss = {
        "dpo": partial(dpo_loss, beta=beta, label_smoothing=label_smoothing or 0.0),
        "ipo": partial(ipo_loss, tau=beta),
        "simpo": lambda chosen, rejected, *_: simpo_loss(chosen, rejected, beta, 0.5 if gamma is None else gamma),
    }[name]
    loss(*torch.zeros(4, 0))  # complains of a beta or a gamma that is none before anything has begun
    return loss


def direct_preference(loss: Loss, average: bool = False) -> Callable:
    """An objective for `fit`: objective(model, batch) is the sum of the losses of a batch, and its number of pairs.

    In a batch rows 2 i and 2 i + 1 are the chosen and the rejected answer to one prompt, with labels on the answers,
    and `reference` (2 B,) has the reference's log-probabilities. The policy learns without dropout, as the reference
    was asked without.
    """

    @preparing(split_answers)
    def objective(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        policy, reference = pair_logprob(model.eval(), batch, average), batch["reference"]
        value, _, _ = loss(policy[0::2], policy[1::2], reference[0::2], reference[1::2])
        pairs = len(policy) // 2
        return value * pairs, pairs

    return objective


@torch.no_grad()
def with_reference(
    reference: nn.Module,
    examples: Sequence[tuple[dict, dict]],
    tokenizer: Tokenizer,
    compute: Compute | None = None,
    batch_size: int = 16,
    together: Alone = ALONE,
) -> list[tuple[dict, dict]]:
    """The examples with the reference's log-probability of each answer as "reference"; computed without dropout."""
    compute = compute or Compute.of(reference)
    reference.to(compute.device)
    order = sorted(range(len(examples)), key=lambda i: max(len(one["input_ids"]) for one in examples[i]))
    batches = Padded([examples[i] for i in order], tokenizer.pad_id, batch_size, causal=True)  # little is padded

    def ask(batch: dict) -> list[list[float]]:
        with compute.autocast():
            said = pair_logprob(reference, compute.to_device(split_answers(reference, batch)))
        return said.float().view(-1, 2).tolist()

    with evaluating(reference):
        found = together.each(ask, batches)
    said = dict(zip(order, chain(*found)))
    return [tuple({**one, "reference": x} for one, x in zip(pair, said[i])) for i, pair in enumerate(examples)]


def without_reference(examples: Sequence[tuple[dict, dict]]) -> list[tuple[dict, dict]]:
    """The examples for a loss that asks no reference, such as SimPO's."""
    return [tuple({**one, "reference": 0.0} for one in pair) for pair in examples]


@torch.no_grad()
def margins(
    model: nn.Module,
    batches: Padded,
    loss: Loss,
    compute: Compute | None = None,
    average: bool = False,
    together: Alone = ALONE,
) -> dict[str, float]:
    """The loss, the share of pairs in the right order, implied rewards, and log-probabilities, which may fall together.

    What to watch, on pairs that are not learned from. "likelier": the share in which the chosen answer is likelier to
    the policy, a token, whatever the reference says of it; "likelier_before": to the reference.
    """
    compute = compute or Compute.of(model)

    def ask(batch: dict) -> list[list[float]]:
        with compute.autocast():
            policy = pair_logprob(model, compute.to_device(split_answers(model, batch)), average).float()
        lengths = (batch["labels"][:, 1:] != IGNORE_INDEX).sum(1).clamp(min=1)
        return [policy.tolist(), batch["reference"].float().tolist(), lengths.tolist()]

    policy, reference, lengths = (torch.tensor([*chain(*part)]) for part in zip(*together.each(ask, batches)))
    of_tokens = torch.ones_like(policy) if average else lengths
    value, chosen, rejected = loss(policy[0::2], policy[1::2], reference[0::2], reference[1::2])
    return {
        "val_loss": float(value),
        "accuracy": float((chosen > rejected).float().mean()),
        "margin": float((chosen - rejected).mean()),
        "likelier": share_in_order(policy / of_tokens),
        "likelier_before": None if average else share_in_order(reference / of_tokens),
        "chosen_reward": float(chosen.mean()),
        "rejected_reward": float(rejected.mean()),
        "chosen_logprob": float(policy[0::2].mean()),
        "rejected_logprob": float(policy[1::2].mean()),
    }


def share_in_order(logprobs: Tensor) -> float:
    """Of pairs in neighbouring rows (2 B,), the share whose first is the larger."""
    return float((logprobs[0::2] > logprobs[1::2]).float().mean())


def train_dpo(
    policy: nn.Module,
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[Conversation, str, str]],
    config: TrainConfig,
    *,
    beta: float | None = None,
    loss: str = "dpo",
    reference: nn.Module | None = None,
    valid: Sequence[tuple[Conversation, str, str]] = (),
    batch_size: int = 4,
    seed: int = 0,
    **more,
) -> History:
    """Teach `policy` in place to make the preferred answers likelier; the loss of DPO begins at ln 2.

    Args:
        pairs: (conversation, chosen, rejected); valid: pairs to watch
        reference: without one, the policy as it is, adapters and all: so resume with the policy that a run began with
        more: `gamma` and `label_smoothing` of the loss, and what `fit` takes
    Raises: ValueError for no pairs, as `reward.pair_of_answers`, and for a policy or reference that reads other tokens.
    """
    if not pairs:
        raise ValueError("there are no pairs of answers to learn from: bring at least one")
    reference = policy if reference is None else reference
    check_vocabulary(policy, tokenizer, "policy")
    check_vocabulary(reference, tokenizer, "reference")
    compute, average = pick_device(config.device, config.dtype), loss == "simpo"
    function = loss_named(loss, beta, **{key: more.pop(key) for key in ("gamma", "label_smoothing") if key in more})
    home, asked = next(reference.parameters()).device, None if average else reference
    learned, watched = (_examples(some, tokenizer, policy.config.context, asked, compute) for some in (pairs, valid))
    if reference is not policy:
        reference.to(home)  # it has said all that it will be asked

    def evaluate(model: nn.Module) -> dict:
        return margins(model, Padded(watched, tokenizer.pad_id, batch_size, causal=True), function, compute, average)

    batches = Padded(learned, tokenizer.pad_id, batch_size, seed=seed, causal=True)
    objective = direct_preference(function, average)
    return fit(policy, objective, batches, config, evaluate if watched else None, **more)


def _examples(pairs, tokenizer: Tokenizer, context: int, reference: nn.Module | None, compute: Compute) -> list[tuple]:
    """Two examples of each pair, with the log-probabilities of a reference if there is one."""
    examples = [pair_of_answers(*pair, tokenizer, context) for pair in pairs]
    return without_reference(examples) if reference is None else with_reference(reference, examples, tokenizer, compute)
