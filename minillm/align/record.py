"""What is written down of a round of PPO, and what is said of a run that cannot be right."""

import warnings

from torch import Tensor

from minillm.align.rollout import Rollout
from minillm.training import History, masked_mean

NEGATIVE_KL, PERSISTENT = -0.1, 3  # nats, and rounds in a row, from which a negative KL is no noise


def record_of(rollout: Rollout, scores: Tensor, old: dict, returns: Tensor, updates: list, kl: float, beta: float):
    """What happened in a round, as numbers by name; of what its updates say, the means."""
    varied = float(returns[rollout.mask].var(correction=0))
    missed = float((returns - old["values"])[rollout.mask].var(correction=0))
    return {
        "reward": float(scores.mean()),
        "reward_std": float(scores.std(correction=0)),
        "kl": kl,
        "kl_k3": float(old["k3"].sum(1).mean()),
        "beta": beta,
        "first_ratio": float(updates[0]["ratio"]),
        **{key: sum(float(one[key]) for one in updates) / len(updates) for key in updates[0]},
        "explained_variance": 1 - missed / varied if varied else 0.0,
        "entropy": float(masked_mean(old["entropy"], rollout.mask)),
        "length": float(rollout.mask.sum(1).float().mean()),
        "ended": float(rollout.ended.float().mean()),
    }


def warn_of_distance(history: History) -> bool:
    """Warn where the KL stays below 0, as none can: of answers drawn with other settings, for instance."""
    last = [record["kl"] for record in history.records[-PERSISTENT:]]
    if len(last) < PERSISTENT or max(last) >= NEGATIVE_KL:
        return False
    warnings.warn(
        f"the measured distance from the reference was negative in {PERSISTENT} rounds, {last[-1]:.2f} nats in "
        f"round {history.step}: the answers are not drawn from the policy that learns from them",
        stacklevel=3,
    )
    return True
