"""Does thinking help, and can it be rewarded: puzzles answered at once and step by step, then learned from a verifier.

    python benchmarks/reasoning.py --json benchmarks/reasoning.json --seeds 0 1 2

Swaps among five people. Everything begins with the ready model of `sft` and is scored on puzzles that it never saw,
greedily (`right`, and `faithful`: right by steps that are all right) and from 16 samples of each (`pass`).

steps     tuned on the same puzzles of 1 to 6 steps, once with the answers alone and once with every step written
learning  tuned for a while on worked answers (`before`), and from there: GRPO from an exact reward, 0 or 1 (`outcome`);
          with a reward for each right step besides (`process`); with ten times the rate and no KL penalty (`hot`);
          and tuning on those samples that are right (`rejection`)

Each part of each seed is kept as soon as it has ended, and a killed run goes on with what is missing.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from minillm.align import ExactReward, GRPOConfig, rejection_sample, sample_each, train_grpo
from minillm.course import sft_run
from minillm.data import Padded, chat_example, user_message
from minillm.hub import load_model, load_tokenizer
from minillm.inference import Question, ask
from minillm.metrics import pass_at_k
from minillm.system import read_json, seed_everything, write_json
from minillm.tales import make_puzzle_instructions, make_puzzles, verify
from minillm.training import History, TrainConfig, causal_lm, fit

BATCH, RATES = 16, {"learning_rate": 5e-3, "matrix_learning_rate": 0.01}
LEARNED, LONGEST = range(1, 7), 8  # steps of a puzzle while learning; and in the test
SAMPLES, KS = 16, (1, 2, 4, 8, 16)
NEW_TOKENS = 28  # of an answer: 8 steps are 2 tokens each at least, 3 with a rare name
GRPO = {
    "rounds": 60, "batch_size": 128, "minibatch_size": 64, "group_size": 8, "max_new_tokens": NEW_TOKENS,
    "learning_rate": 3e-4, "kl_coef": 0.02, "evaluate_every": 10, "device": "cpu", "dtype": "fp32",
}  # fmt: skip
FIT = {"device": "cpu", "dtype": "fp32", "eval_every": 10**6, "decay_share": 0.9}
WAYS = {
    "outcome": {},
    "process": {"reward": ExactReward(process=1.0)},
    "hot": {"learning_rate": 3e-3, "kl_coef": 0.0, "rounds": 20},
}
DRAWN = GRPO["rounds"] * GRPO["batch_size"] // GRPO["group_size"]  # puzzles that GRPO asks in all


class World:
    """The tokenizer, puzzles that no run learns, and how a model is scored on them."""

    def __init__(self):
        self.tokenizer = load_tokenizer(sft_run())
        self.test = [make_puzzles(100, 10_000 + steps, [steps]) for steps in range(1, LONGEST + 1)]
        self.mixed = make_puzzles(200, 20_000, LEARNED)

    def tuned(self, puzzles: Sequence, steps: int, seed: int, worked: float):
        """The ready model after so many steps on puzzles, of which a share shows its steps."""
        seed_everything(seed)
        model = load_model(sft_run().path)
        return self.learn(model, make_puzzle_instructions(puzzles, seed, worked), steps, seed)

    def learn(self, model, chats: Sequence[dict], steps: int, seed: int):
        """A model after so many steps on conversations."""
        examples = [chat_example(chat["messages"], self.tokenizer, 256) for chat in chats]
        batches = Padded(examples, self.tokenizer.pad_id, BATCH, seed=seed, causal=True)
        config = TrainConfig(steps=steps, warmup=steps // 10, **RATES, **FIT)
        unless_stopped(fit(model, causal_lm, batches, config, progress=False))
        return model.eval()

    def greedy(self, model, puzzles: Sequence) -> dict:
        """Shares of greedy answers."""
        asked = [Question(user_message(puzzle.prompt), "") for puzzle in puzzles]
        said = [verify(p.prompt, a) for p, a in zip(puzzles, ask(model, self.tokenizer, asked, NEW_TOKENS))]
        shares = {key: sum(getattr(v, key) for v in said) / len(said) for key in ("right", "faithful", "worked")}
        return {"n": len(said), **shares, "each": [int(v.right) for v in said]}

    def scores(self, model, seed: int) -> dict:
        """Greedy and sampled, of the mixed test."""
        draw = torch.Generator().manual_seed(seed)
        chats = [user_message(puzzle.prompt) for puzzle in self.mixed]
        rows = sample_each(model, self.tokenizer, chats, SAMPLES, NEW_TOKENS, generator=draw)
        right = [sum(verify(p.prompt, a).right for a in row) for p, row in zip(self.mixed, rows)]
        greedy = self.greedy(model, self.mixed)
        return {"greedy": greedy, "right_of_16": right, "pass": {k: pass_at_k(right, SAMPLES, k) for k in KS}}

    def rewarded(self, model, puzzles: Sequence, seed: int, reward=None, **changes) -> tuple[dict, list[dict]]:
        """A model after GRPO on puzzles; its scores, and what happened in each round."""
        config = GRPOConfig(**{**GRPO, "seed": seed, **changes})
        chats = [user_message(puzzle.prompt) for puzzle in puzzles]
        history = train_grpo(
            model, self.tokenizer, chats, reward or ExactReward(), config, self.in_short, progress=False
        )
        unless_stopped(history)
        kept = ("step", "reward", "kl", "entropy", "length", "alike", "right", "faithful", "worked")
        return self.scores(model, seed), [{k: r[k] for k in kept if k in r} for r in history.records]

    def in_short(self, model) -> dict:
        """What a run is asked on its way."""
        found = self.greedy(model, self.mixed[:100])
        return {key: found[key] for key in ("right", "faithful", "worked")}


def unless_stopped(history: History) -> None:
    """Raises: SystemExit for a run that was told to stop: half of it is no result."""
    if history.stopped:
        raise SystemExit("stopped: the parts that have ended are kept")


def by_steps(world: World, seed: int, flags) -> dict:
    """Direct and worked answers by the number of steps."""
    puzzles, found = make_puzzles(flags.puzzles, seed, LEARNED), {}
    for way, worked in (("direct", 0.0), ("worked", 1.0)):
        model = world.tuned(puzzles, flags.steps, seed, worked)
        found[way] = [world.greedy(model, some) for some in world.test]
    return found


def learning(world: World, seed: int, flags) -> dict:
    """From one beginning: rewards for results, for steps, too hot; and tuning on those samples that are right."""
    model = world.tuned(make_puzzles(flags.few, seed, LEARNED), flags.begun, seed, 1.0)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    prompts, found = make_puzzles(2000, 1_000 + seed, LEARNED), {"before": world.scores(model, seed)}
    for name, changes in WAYS.items():
        model.load_state_dict(state)
        found[name], found[f"{name}_rounds"] = world.rewarded(model, prompts, seed, **changes)
    model.load_state_dict(state)
    chats, draw = [user_message(puzzle.prompt) for puzzle in prompts[:DRAWN]], torch.Generator().manual_seed(seed)
    more = {"max_new_tokens": NEW_TOKENS, "generator": draw}
    kept = rejection_sample(model, world.tokenizer, chats, ExactReward(), GRPO["group_size"], **more)
    world.learn(model, [{"messages": chat} for chat in kept], flags.begun // 2, seed)
    found["rejection"] = world.scores(model, seed) | {"kept": len(kept)}
    return found


PARTS = {"steps": by_steps, "learning": learning}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to keep what is found, and to go on from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--puzzles", type=int, default=12000, help="of the part `steps`")
    parser.add_argument("--steps", type=int, default=1200, help="of training, of the part `steps`")
    parser.add_argument("--few", type=int, default=4000, help="puzzles that a model is begun with, before a reward")
    parser.add_argument("--begun", type=int, default=400, help="steps of training on them")
    flags = parser.parse_args()
    settings = {name: getattr(flags, name) for name in ("puzzles", "steps", "few", "begun")}
    found = read_json(flags.json) if flags.json.exists() else {"settings": settings, "grpo": GRPO, "runs": []}
    if found["settings"] != settings:
        raise SystemExit(f"{flags.json} holds runs with the settings {found['settings']}: name another file")
    world = World()
    for seed in flags.seeds:
        for part in flags.only:
            if any((run["seed"], run["part"]) == (seed, part) for run in found["runs"]):
                continue
            began = time.process_time()
            run = {"part": part, "seed": seed, **PARTS[part](world, seed, flags)}
            found["runs"].append(run | {"processor_seconds": round(time.process_time() - began)})
            write_json(flags.json, found)
            print(f"seed {seed}, {part}: {found['runs'][-1]['processor_seconds']} processor seconds", flush=True)


if __name__ == "__main__":
    main()
