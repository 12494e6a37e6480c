"""What `train.py ppo` learns from: prompts, and who rewards the answers."""

from pathlib import Path
from typing import Any

from minillm.align import (
    Conversation,
    RewardModelScorer,
    prompt_ids,
)
from minillm.data import Prompt, read_prompts, user_message
from minillm.hub import load_model, load_tokenizer, model_kind, source
from minillm.models import RewardModel
from minillm.peft import bare
from minillm.system import Compute
from minillm.tales import data_file, make_puzzles, solve
from minillm.text import Tokenizer, keep_good

PUZZLES, ASKED = 4000, 200  # to learn on, where nobody brings any, and to compare answers on


def puzzle_prompts(seed: int) -> tuple[list[Conversation], list[Conversation]]:
    """Puzzles to learn on, and others to compare answers on."""
    test = [puzzle.prompt for puzzle in make_puzzles(ASKED, 2 * seed + 1)]
    train = [puzzle.prompt for puzzle in make_puzzles(PUZZLES, 2 * seed) if puzzle.prompt not in test]
    return [*map(user_message, train)], [*map(user_message, test)]


def check_puzzles(prompts: list[Conversation]) -> None:
    """Raises: ValueError for a prompt whose answers no program can check."""
    for prompt in prompts:
        try:
            solve(prompt[-1]["content"])
        except ValueError as error:
            raise ValueError(f"--reward exact checks puzzles, and among the prompts is {error}") from None


def load_prompts(
    data: Path | None, test: Path | None, tokenizer: Tokenizer, context: int
) -> tuple[list[Conversation], list[Conversation]]:
    """Prompts to learn on, and others to compare answers on; the tales' own without data.

    One that leaves no room for an answer is left out and said.
    """

    def fitting(record: Prompt) -> Conversation:
        try:
            prompt_ids(tokenizer, [record.messages], context)
        except ValueError as error:
            raise ValueError(f"{record.place}: {error}") from None
        return record.messages

    files = [data, test]
    if data is None:
        if test:
            raise ValueError("--test needs --data: the tales have prompts of their own to compare answers on")
        files = [data_file(f"prompts_{part}.jsonl") for part in ("train", "test")]
    parts = [
        keep_good([(record.line, record) for record in read_prompts(file)], lambda _, record: fitting(record))
        for file in filter(None, files)
    ]
    if len(parts) == 2:
        return parts[0], parts[1]
    train = list({repr(prompt): prompt for prompt in parts[0]}.values())  # each once, to stand on one side
    kept = max(len(train) // 10, 1)
    if len(train) <= kept:
        raise ValueError(f"{data}: holds one prompt, and comparing needs a second; bring more, or --test")
    return train[:-kept], train[-kept:]


def load_reward(settings: Any, tokenizer: Tokenizer, compute: Compute) -> RewardModelScorer:
    """The reward model that settings name. Raises: ValueError for a run of another kind, or of another vocabulary."""
    run = source(settings.reward)
    model = load_model(run.path)
    if not isinstance(bare(model), RewardModel):
        raise ValueError(f"{run.path} holds {model_kind(model)}, and ppo needs a reward model: a run of reward")
    if load_tokenizer(run).fingerprint != tokenizer.fingerprint:
        raise ValueError(
            f"{run.path} reads with another tokenizer than {settings.from_}: train the reward model on that run"
        )
    return RewardModelScorer(model, tokenizer, compute)
