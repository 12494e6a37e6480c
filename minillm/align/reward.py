"""A reward model: a number for an answer, learned from which of two answers people prefer (Ouyang et al. 2022, 3.5).

A trunk that has been taught to answer, with a scalar head that reads the last token of the whole conversation. Only
differences between answers to one prompt are learned, so the rewards' level is arbitrary: `Rewards` puts it to mean 0
and deviation 1 on answers of the model that is to be aligned (Ziegler et al. 2019, section 2.1).

Shapes: B pairs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from minillm.align.rollout import Conversation
from minillm.data import Padded
from minillm.device import Place, choose
from minillm.examples import chat_example
from minillm.losses import preference_loss
from minillm.objectives import LossFunction, inputs_of
from minillm.tokenizer import Tokenizer
from minillm.trainer import History, TrainConfig, fit


def pair_of_answers(
    conversation: Conversation, chosen: str, rejected: str, tokenizer: Tokenizer, context: int
) -> tuple[dict, dict]:
    """Two examples for neighbouring rows: the conversation with the better answer, and with the worse."""
    answers = ([*conversation, {"role": "assistant", "content": answer}] for answer in (chosen, rejected))
    better, worse = (chat_example(messages, tokenizer, context) for messages in answers)
    return better, worse


def preference(centre: float = 0.0) -> LossFunction:
    """An objective for `fit`: the chosen of each pair is to have the higher reward. model: a RewardModel."""

    def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        rewards = model(**inputs_of(batch))  # (2 B,)
        pairs = len(rewards) // 2
        return preference_loss(rewards[0::2], rewards[1::2], centre=centre) * pairs, pairs

    return loss


def train_reward(
    model: nn.Module,
    tokenizer: Tokenizer,
    pairs: Sequence[tuple[Conversation, str, str]],
    config: TrainConfig,
    *,
    batch_size: int = 8,
    centre: float = 0.0,
    seed: int = 0,
    **more,
) -> History:
    """Teach a RewardModel in place which answers are preferred. pairs: (conversation, chosen, rejected).

    more: for `fit`. The loss begins at ln 2. Raises ValueError when there are no pairs.
    """
    if not pairs:
        raise ValueError("there are no pairs of answers to learn from: bring at least one")
    context = model.trunk.config.context
    examples = [pair_of_answers(*pair, tokenizer, context) for pair in pairs]
    batches = Padded(examples, tokenizer.pad_id, batch_size, seed=seed)
    return fit(model, preference(centre), batches, config, **more)


class Rewards:
    """A reward model as a function of prompts and answers, for PPO, best-of-n and whoever asks.

    mean and deviation: of its rewards, as `standardise` measures them; 0 and 1: as they come.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, place: Place | None = None, batch_size: int = 32):
        self.model, self.tokenizer, self.batch_size = model.eval(), tokenizer, batch_size
        self.place = place or choose()
        self.model.to(self.place.device)
        self.mean, self.deviation = 0.0, 1.0

    @torch.no_grad()
    def __call__(self, conversations: Sequence[Conversation], answers: Sequence[str]) -> Tensor:
        """The rewards (B,) of answers to conversations, on the CPU."""
        examples = [
            chat_example(
                [*conversation, {"role": "assistant", "content": answer}],
                self.tokenizer,
                self.model.trunk.config.context,
            )
            for conversation, answer in zip(conversations, answers, strict=True)
        ]
        found = []
        for batch in Padded(examples, self.tokenizer.pad_id, self.batch_size):
            with self.place.autocast():
                found.append(self.model(**inputs_of(self.place.to_device(batch))).float().cpu())
        return (torch.cat([*found, torch.zeros(0)]) - self.mean) / self.deviation

    def standardise(self, conversations: Sequence[Conversation], answers: Sequence[str]) -> None:
        """Let these answers have rewards of mean 0 and deviation 1. Raises ValueError when all have the same."""
        self.mean, self.deviation = 0.0, 1.0
        rewards = self(conversations, answers)
        if len(rewards) < 2 or not float(rewards.std()) > 0:
            raise ValueError("the reward model finds all answers alike: it has learned nothing to go by")
        self.mean, self.deviation = float(rewards.mean()), float(rewards.std())
