"""A reward model: a number for an answer, learned from which of two answers people prefer (Ouyang et al. 2022, 3.5).

A trunk that has been taught to answer, with a scalar head that reads the last token of the whole conversation. Only
differences between answers to one prompt are learned, so adding a constant to all rewards changes nothing:
`RewardModelScorer` gives them mean 0 and deviation 1 on answers of the model that is to be aligned (Ziegler et al.
2019, section 2.1).

Shapes: B pairs.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from minillm.align.pairs import rewards_of_pairs, split_at_ends
from minillm.align.rollout import Conversation, check_vocabulary, prompt_ids
from minillm.data import IGNORE_INDEX, Padded, chat_example
from minillm.inference import predict
from minillm.peft import bare
from minillm.system import Compute, pick_device
from minillm.text import Tokenizer
from minillm.training import History, LossFunction, TrainConfig, fit, preference_loss, preparing

Reward = Callable[[Sequence[Conversation], Sequence[str]], Tensor]


def _check_reward_model(model: nn.Module, tokenizer: Tokenizer) -> None:
    if not hasattr(model, "trunk"):
        raise ValueError(f"a {type(bare(model)).__name__} gives no rewards: wrap it in RewardModel(...)")
    check_vocabulary(model.trunk, tokenizer, "reward model")


@torch.no_grad()
def rewards_of(reward: Reward, conversations: Sequence[Conversation], answers: Sequence[str]) -> Tensor:
    """The reward of each answer, (B,) in fp32 on the CPU.

    Raises: ValueError when it is not one number for each; FloatingPointError, with the answer, for one not finite.
    """
    rewards = torch.as_tensor(reward(conversations, answers), dtype=torch.float32, device="cpu")
    if rewards.shape != (len(answers),):
        raise ValueError(f"the rewards of {len(answers)} answers have shape {tuple(rewards.shape)}: one for each")
    for value, answer in zip(rewards.tolist(), answers):
        if not math.isfinite(value):
            raise FloatingPointError(f"the reward of {answer[:60]!r} is {value}: a reward must be a finite number")
    return rewards


def answer_example(conversation: Conversation, answer: str, tokenizer: Tokenizer, context: int) -> dict:
    """A conversation with an answer, its labels on that answer alone; one that is too long is cut off at its end.

    Raises: ValueError when nothing of it fits.
    """
    prompt = len(prompt_ids(tokenizer, [conversation], context)[0])
    example = chat_example([*conversation, {"role": "assistant", "content": answer}], tokenizer, context)
    example["labels"][:prompt] = [IGNORE_INDEX] * prompt  # what the assistant said before is the same for both
    return example


def pair_of_answers(
    conversation: Conversation, chosen: str, rejected: str, tokenizer: Tokenizer, context: int
) -> tuple[dict, dict]:
    """Two examples for neighbouring rows: the conversation with the better answer, and with the worse.

    Raises: ValueError for a pair from which nothing can be learned: an empty answer, or two of which the model reads
        the same; and when no answer fits into the context.
    """
    if not chosen.strip() or not rejected.strip():
        which = "rejected" if chosen.strip() else "chosen"
        raise ValueError(f"the {which} answer is empty, beside {(chosen + rejected)[:60]!r}: leave this pair out")
    better, worse = (answer_example(conversation, answer, tokenizer, context) for answer in (chosen, rejected))
    if better["input_ids"] == worse["input_ids"]:
        where = f" within a context of {context} tokens" if chosen != rejected else ""
        raise ValueError(f"the chosen and the rejected answer are the same{where}: {chosen[:60]!r}; leave it out")
    return better, worse


def preference(centre: float = 0.0) -> LossFunction:
    """An objective for `fit`: a RewardModel is to give the chosen of each pair the higher reward.

    It learns without dropout, whose noise would differ between the two answers.

    Raises: ValueError for a `centre` that is no number from 0 up.
    """
    preference_loss(torch.zeros(0), torch.zeros(0), centre=centre)  # complains before anything has begun

    @preparing(split_at_ends)
    def loss(model: nn.Module, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        rewards = rewards_of_pairs(model.eval(), batch)  # (2 B,)
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
    """Teach a RewardModel in place which answers are preferred; the loss begins at ln 2.

    Args:
        pairs: (conversation, chosen, rejected); centre: as of `preference_loss`; more: for `fit`
    Raises: ValueError when there are no pairs, as `pair_of_answers`, for a tokenizer that is not the model's, and for
        a model that gives no rewards.
    """
    _check_reward_model(model, tokenizer)
    if not pairs:
        raise ValueError("there are no pairs of answers to learn from: bring at least one")
    examples = [pair_of_answers(*pair, tokenizer, model.trunk.config.context) for pair in pairs]
    return fit(model, preference(centre), Padded(examples, tokenizer.pad_id, batch_size, seed=seed), config, **more)


class RewardModelScorer:
    """A reward model as a `Reward`: a function of prompts and answers, for PPO, best-of-n and whoever asks.

    Its `mean` and `deviation` are those of its rewards, as `standardise` measures them; 0 and 1: as they come.

    Args:
        compute: where it is asked (default: the fastest at hand); batch_size: texts at a time
    Raises: ValueError for another model's tokenizer, and for a model that gives no rewards.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, compute: Compute | None = None, batch_size: int = 32):
        _check_reward_model(model, tokenizer)
        self.model, self.tokenizer, self.batch_size = model.eval(), tokenizer, batch_size
        self.compute = compute or pick_device()
        self.model.to(self.compute.device)
        self.mean, self.deviation = 0.0, 1.0

    @property
    def context(self) -> int:
        """How many tokens it reads."""
        return self.model.trunk.config.context

    @torch.no_grad()
    def __call__(self, conversations: Sequence[Conversation], answers: Sequence[str]) -> Tensor:
        """The rewards (B,) of answers to conversations, on the CPU.

        Raises: ValueError when no answer fits into the model's context.
        """
        pairs = zip(conversations, answers, strict=True)
        examples = [answer_example(*pair, self.tokenizer, self.context) for pair in pairs]
        rewards = predict(self.model, Padded(examples, self.tokenizer.pad_id, self.batch_size), self.compute)
        return (torch.tensor([*map(float, rewards)]) - self.mean) / self.deviation

    def standardise(self, conversations: Sequence[Conversation], answers: Sequence[str]) -> None:
        """Let these answers have rewards of mean 0 and deviation 1.

        Raises: ValueError when all have the same, and FloatingPointError as `rewards_of`.
        """
        self.mean, self.deviation = 0.0, 1.0
        rewards = rewards_of(self, conversations, answers)
        if len(rewards) < 2 or not float(rewards.std()) > 0:
            raise ValueError("the reward model finds all answers alike: it has learned nothing to go by")
        self.mean, self.deviation = float(rewards.mean()), float(rewards.std())
