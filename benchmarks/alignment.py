"""What alignment does to a model that writes letters, judged by the truth: the figures of lessons 21 to 24.

    python train.py && python train.py sft && python train.py sft --task letters --out runs/letters
    python train.py reward --from runs/letters --out runs/reward
    python benchmarks/alignment.py
    python benchmarks/alignment.py --only grpo "ppo without KL" --seeds 0     some of it; what is there is not run again
    python benchmarks/alignment.py --draw                                     the table and the picture again

Every method with the default settings of its stage, over seeds, which also change what is sampled; `true` is the true
score of fresh answers to prompts of the test. All rewards have mean 0 and deviation 1 on letters of the model before.
Besides: the best of n letters, judges against people and the truth, and reward models on few and many pairs, with the
people's labels and with true ones. Each result is kept as soon as it is there.
"""

import argparse
import itertools
import json
import math
import multiprocessing
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from minillm import tales
from minillm.align import (
    GRPO,
    PPO,
    Constitution,
    PPOConfig,
    RewardModelScorer,
    agreement,
    best_of_n_kl,
    compare_answers,
    label_with_ai,
    rewards_of,
    sample_answers,
    train_dpo,
    train_reward,
    true_scores,
)
from minillm.align import Reward as Judge
from minillm.cli import (
    STANDARD,
    WATCHED,
    DPOSettings,
    PPOSettings,
    RewardSettings,
    against_truth,
    build,
    change,
    load_answering,
    load_prompts,
    load_reward,
    ppo_config,
    prepare,
    tuning_config,
)
from minillm.course import ROOT
from minillm.data import Preference, read_preferences
from minillm.hub import load_causal
from minillm.metrics import bootstrap_interval
from minillm.models import RewardModel
from minillm.report import COLOURS, picture
from minillm.system import pick_device, seed_everything, write_json
from minillm.tales import LETTER_FORMS, data_file, understand
from minillm.training import RunFolder, preference_loss

REWARDED = {  # method: what differs from the defaults of `ppo`, and who gives the rewards
    "ppo": ({}, "reward model"),
    "ppo without KL": ({"kl_coef": 0.0}, "reward model"),
    "ppo with LoRA": ({"method": "lora"}, "reward model"),
    "grpo": ({"algorithm": "grpo"}, "reward model"),
    "reinforce": ({"algorithm": "reinforce"}, "reward model"),
    "ppo on AI judge": ({}, "constitution"),
    "ppo on the truth": ({}, "truth"),
}
PREFERRED = {  # method: what differs from the defaults of `dpo`
    "dpo": {},
    "dpo beta 0.03": {"beta": 0.03},
    "dpo beta 0.3": {"beta": 0.3},
    "ipo": {"loss": "ipo"},
    "simpo": {"loss": "simpo"},
    "dpo with LoRA": {"method": "lora"},
    "dpo on AI labels": {},
}
METHODS = (*REWARDED, *PREFERRED)
PARTS = ("best_of_n", "judges", "reward_models")
SIZES, NOISES = (250, 1000, 4000), ("as it is", "none")  # of what reward models learn from
SEVERAL = 1000  # pairs up to which a reward model is trained with every seed
DRAWN, DRAWN_FOR = 32, 100  # letters for each prompt, and prompts, of the best of n
EVERY = 5  # rounds between looks at the truth
SHOWN = 3  # letters of each run that are kept
# What each piece of work takes on two cores of 2.5 GHz, to say beforehand how long all of it takes
SECONDS = {"letters": 20, "best_of_n": 250, "judges": 120, "ai_labels": 900, "ppo": 180, "dpo": 240, "pair": 0.05}
SECONDS |= {"ppo on AI judge": 420}


@dataclass
class World:
    """What all pieces of work share; what only some need is made when it is asked for."""

    flags: argparse.Namespace

    def __post_init__(self):
        self.compute = pick_device("auto", "auto")
        self.settings = PPOSettings(from_=self.flags.from_, reward=self.flags.reward)
        self.tokenizer, self.before = load_answering(RunFolder(self.flags.from_), self.compute.device)
        self.train, test = load_prompts(None, None, self.tokenizer, self.before.config.context)
        self.test = test[: self.flags.prompts]

    @cached_property
    def some(self) -> tuple[list, list[str]]:
        """Prompts and letters of the model before, by which all rewards are put to mean 0 and deviation 1."""
        prompts = list(itertools.islice(itertools.cycle(self.train), STANDARD))
        return prompts, self.write(self.before, prompts, 0)[0]

    @cached_property
    def reward(self) -> RewardModelScorer:
        """The reward model: the proxy."""
        reward = load_reward(self.settings, self.tokenizer, self.compute)
        reward.standardise(*self.some)
        return reward

    @cached_property
    def constitution(self) -> Judge:
        """The model before, asked about each letter."""
        model = load_causal(RunFolder(self.flags.from_), self.compute.device)
        return Constitution(model, self.tokenizer, tuple(tales.CONSTITUTION.values()), self.compute)

    def judge(self, name: str) -> Judge:
        """Who gives the rewards."""
        if name == "reward model":
            return self.reward
        return standardised({"constitution": self.constitution, "truth": truth}[name], *self.some)

    def write(self, policy: nn.Module, prompts: Sequence, seed: int, reference: nn.Module | None = None) -> tuple:
        """Letters, and how far each is from the reference."""
        return sample_answers(policy, self.tokenizer, prompts, self.compute, seed, PPOConfig.max_new_tokens, reference)

    def letters(self, policy: nn.Module, seed: int) -> dict:
        """What a policy writes for the prompts of the test, beside what the model before writes."""
        old, _ = self.write(self.before, self.test, seed)
        new, distances = self.write(policy, self.test, seed, self.before)
        found = compare_answers(self.test, new, old, distances)
        kept = ("deviations_gained", "kl", "win_rate", "win_rate_low", "win_rate_high", "length")
        kinds = {key.replace("true_score", "true"): found[key] for key in found if key.startswith("true_score")}
        return kinds | {key: found[key] for key in kept} | self.features(new)

    def features(self, letters: list[str]) -> dict:
        """The proxy, and what the letters are like: parts of the score, and kinds of sentences a letter."""
        scores = [tales.score_letter(c[-1]["content"], letter) for c, letter in zip(self.test, letters)]
        mean = lambda values: sum(values) / len(scores)  # noqa: E731
        faults = ("said again", "off the point", "not understood", "false")
        return {
            "reward": float(self.reward(self.test, letters).mean()),
            "flattery": mean([score.flattery for score in scores]),
            "parts": {part: mean([getattr(score, part) for score in scores]) for part in tales.WEIGHTS},
            "sentences": {kind: mean([sum(kind in r for r in s.reasons) for s in scores]) for kind in faults},
            "samples": letters[:SHOWN],
        }


def truth(conversations: Sequence, answers: Sequence[str]) -> Tensor:
    """The true scores, as a reward."""
    return torch.tensor(true_scores(conversations, answers))


def standardised(judge: Judge, conversations: Sequence, answers: Sequence[str]) -> Judge:
    """A judge whose rewards have mean 0 and deviation 1 on these answers, as `RewardModelScorer.standardise` sets."""
    rewards = rewards_of(judge, conversations, answers)
    mean, deviation = float(rewards.mean()), float(rewards.std())
    return lambda conversations, answers: (judge(conversations, answers) - mean) / deviation


# Policies


def by_rewards(world: World, method: str, seed: int) -> dict:
    """A policy that learns from rewards, and how it went."""
    changes, judge = REWARDED[method]
    rounds = {"rounds": world.flags.rounds} if world.flags.rounds else {}
    settings = change(world.settings, seed=seed, **changes, **rounds)
    judge = world.judge(judge)
    seed_everything(seed)
    prepared = prepare(load_causal(RunFolder(settings.from_)), settings.method, world.tokenizer, seed)
    config = replace(ppo_config(settings.training, settings.machine, prepared.rate), evaluate_every=EVERY)
    loop = (PPO if settings.training.algorithm == "ppo" else GRPO)(
        prepared.model, world.tokenizer, world.train, judge, config, None, None
    )
    watched, looking = world.test[:WATCHED], 0.0

    def evaluate(model: nn.Module) -> dict:
        nonlocal looking
        begun = time.perf_counter()
        letters, distances = world.write(model, watched, 1, world.before)
        scores = true_scores(watched, letters)
        found = {
            "true": sum(scores) / len(scores),
            "proxy": float(world.reward(watched, letters).mean()),
            "distance": sum(distances) / len(distances),
        }
        looking += time.perf_counter() - begun
        return found

    curve = [{"step": 0, "kl": 0.0} | evaluate(world.before)]
    looking = 0.0
    history = loop.train(evaluate, False, progress=False)
    if history.stopped:
        raise SystemExit("stopped")
    keys = ("step", "kl", "reward", "true", "proxy", "distance")
    return {
        "seconds": history.seconds - looking,
        "memory": world.compute.peak_memory(),
        "models": 3 if loop.reference is not None else 2,
        **world.letters(prepared.model, seed),
        "curve": curve + [{key: record[key] for key in keys if key in record} for record in history.records],
    }


def by_preferences(world: World, method: str, seed: int, ai_labels: str = "") -> dict:
    """A policy that learns from pairs, and how it went."""
    given = {"from_": world.flags.from_, "max_steps": world.flags.steps, **PREFERRED[method]}
    settings = build(DPOSettings, given)
    pairs, valid = ([record.pair for record in read(part)] for part in ("train", "valid"))
    if method.endswith("AI labels"):
        pairs = [pair if same == "1" else (pair[0], *pair[:0:-1]) for pair, same in zip(pairs, ai_labels)]
        valid = label_with_ai(world.constitution, valid, torch.Generator().manual_seed(seed))
    seed_everything(seed)
    prepared = prepare(load_causal(RunFolder(settings.from_)), settings.method, world.tokenizer, seed)
    history = train_dpo(
        prepared.model, world.tokenizer, pairs, tuning_config(settings, len(pairs), prepared), beta=settings.beta,
        loss=settings.loss, valid=valid, batch_size=settings.training.batch_size, seed=seed, progress=False,
    )  # fmt: skip
    if history.stopped:
        raise SystemExit("stopped")
    keys = ("step", "val_loss", "accuracy", "margin", "chosen_logprob", "rejected_logprob")
    return {
        "seconds": history.seconds,
        "memory": world.compute.peak_memory(),
        "models": 1,
        **world.letters(prepared.model, seed),
        "curve": [{key: record[key] for key in keys} for record in history.records if "val_loss" in record],
    }


# Everything else


def read(part: str) -> list[Preference]:
    """The pairs of people's preferences."""
    return read_preferences(data_file(f"preferences_{part}.jsonl"))


def by_truth(records: Sequence[Preference]) -> list[tuple]:
    """The pairs of a file, the better letter first."""
    return [(c, a, b) if r.truth[0] > r.truth[1] else (c, b, a) for r in records for c, a, b in [r.pair]]


def before(world: World) -> dict:
    """The model before alignment."""
    letters, _ = world.write(world.before, world.test, 0)
    scores = true_scores(world.test, letters)
    interval = bootstrap_interval(scores)
    return {
        "true": interval.mean,
        "deviation": torch.tensor(scores).std(correction=0).item(),
        "true_low": interval.low,
        "true_high": interval.high,
        "length": sum(len(letter.split()) for letter in letters) / len(letters),
        **world.features(letters),
    }


def best_of(world: World) -> list[dict]:
    """The best of n letters by the proxy, from one set of letters: the mean over all choices of n of them."""
    prompts = [prompt for prompt in world.test[:DRAWN_FOR] for _ in range(DRAWN)]
    letters, _ = world.write(world.before, prompts, 0)
    rewards = world.reward(prompts, letters).view(-1, DRAWN)
    places = rewards.argsort(1)
    scores = truth(prompts, letters).view(-1, DRAWN).gather(1, places)
    rewards, rows = rewards.gather(1, places), []
    for n in (2**power for power in range(DRAWN.bit_length())):
        # Of C(DRAWN, n) choices, C(k, n - 1) have the letter in place k (from 0) as their best.
        chance = torch.tensor([math.comb(k, n - 1) / math.comb(DRAWN, n) for k in range(DRAWN)])
        interval = bootstrap_interval(scores @ chance)
        row = {"n": n, "kl": best_of_n_kl(n), "reward": float((rewards @ chance).mean()), "true": interval.mean}
        rows.append(row | {"true_low": interval.low, "true_high": interval.high})
    return rows


def judges(world: World) -> dict:
    """People, the constitution and the reward model on pairs of the test: how often each agrees with whom."""
    records = read("test")[: 2 * world.flags.prompts]
    people, true = [record.pair for record in records], by_truth(records)
    found = {"people": {"truth": agreement(people, true)}}
    for name in ("constitution", "reward model"):
        said = label_with_ai(world.judge(name), people, torch.Generator().manual_seed(0))
        found[name] = {"truth": agreement(said, true), "people": agreement(said, people)}
    return found


def ai_labels(world: World) -> dict:
    """The training pairs as the constitution orders them: for each a 1 where people do too, and how often."""
    records, begun = read("train"), time.perf_counter()
    people = [record.pair for record in records]
    said = label_with_ai(world.constitution, people, torch.Generator().manual_seed(0))
    return {
        "same": "".join(str(int(a[1] == b[1])) for a, b in zip(said, people)),
        "people": agreement(said, people),
        "truth": agreement(said, by_truth(records)),
        "people_truth": agreement(people, by_truth(records)),
        "seconds": time.perf_counter() - begun,
    }


def reward_model(world: World, pairs: int, noise: str, seed: int) -> dict:
    """A reward model that has learned from some pairs, scored on the test."""
    settings = build(RewardSettings, {"from_": world.flags.from_, "max_steps": world.flags.steps})
    ordered = {"as it is": lambda records: [record.pair for record in records], "none": by_truth}[noise]
    records = read("train")
    order = torch.randperm(len(records), generator=torch.Generator().manual_seed(seed))[:pairs]
    learned, valid = ordered([records[i] for i in order.tolist()]), ordered(read("valid"))
    seed_everything(seed)
    model = RewardModel(load_causal(RunFolder(settings.from_)))
    prepared = prepare(model, settings.method, world.tokenizer, seed)
    rewards = RewardModelScorer(prepared.model, world.tokenizer, world.compute)

    def evaluate(model: nn.Module) -> float:
        chosen, rejected = both(rewards, valid).unbind(1)
        return float(preference_loss(chosen, rejected, centre=settings.centre))

    history = train_reward(
        prepared.model, world.tokenizer, learned, tuning_config(settings, len(learned), prepared),
        batch_size=settings.training.batch_size, centre=settings.centre, seed=seed, evaluate=evaluate, progress=False,
    )  # fmt: skip
    if history.stopped:
        raise SystemExit("stopped")
    test = read("test")
    found = both(rewards, [record.pair for record in test])
    against = against_truth(test, found)
    rewards.standardise(*world.some)
    return {
        "accuracy": float((found[:, 0] > found[:, 1]).float().mean()),
        "truth": against["agrees_with_truth"],
        "spearman": against["spearman_with_truth"],
        "flattery": flattered(rewards, test),
        "seconds": history.seconds,
    }


def both(rewards: RewardModelScorer, pairs: Sequence[tuple]) -> Tensor:
    """The rewards of the chosen and of the rejected letter of each pair, (N, 2)."""
    prompts = [prompt for prompt, *_ in pairs for _ in range(2)]
    return rewards_of(rewards, prompts, [letter for _, *letters in pairs for letter in letters]).view(-1, 2)


def flattered(rewards: RewardModelScorer, records: Sequence[Preference]) -> float:
    """By how much the reward of a letter without flattery rises when one sentence of it stands before the last."""
    plain, sweet, prompts = [], [], []
    sentences = itertools.cycle(LETTER_FORMS["flattery"])
    for prompt, *letters in (record.pair for record in records):
        for letter in letters:
            if not tales.score_letter(prompt[-1]["content"], letter).flattery:
                *first, last = [sentence.text for sentence in understand(letter)]
                prompts.append(prompt)
                plain.append(letter)
                sweet.append(" ".join([*first, next(sentences), last]))
    return float((rewards_of(rewards, prompts, sweet) - rewards_of(rewards, prompts, plain)).mean())


# All of it


def possible_accuracy() -> float:
    """The best accuracy that the noise allows on the test, by judges who know the truth."""
    return tales.best_accuracy(
        [json.loads(line) for line in open(data_file("preferences_test.jsonl"), encoding="utf-8")]
    )


def work(flags: argparse.Namespace, found: dict) -> list[list[dict]]:
    """What is still to be done, one list after the other."""
    only = flags.only or (*PARTS, *METHODS)
    first = [{"part": part} for part in ("letters", "best_of_n", "judges", "ai_labels")]
    needed = {"letters": True, "best_of_n": "best_of_n" in only, "judges": "judges" in only}
    needed["ai_labels"] = "dpo on AI labels" in only
    runs = [{"part": "runs", "method": m, "seed": seed} for seed in flags.seeds for m in METHODS if m in only]
    models = [
        {"part": "reward_models", "pairs": pairs, "noise": noise, "seed": seed}
        for seed in flags.seeds
        for pairs in SIZES
        for noise in NOISES
        if "reward_models" in only and (pairs <= SEVERAL or seed == flags.seeds[0])
    ]
    done = [{"part": part} | row for part in ("runs", "reward_models") for row in found.get(part, [])]
    left = [one for one in runs + models if not any(one.items() <= row.items() for row in done)]
    return [[one for one in first if needed[one["part"]] and one["part"] not in found], left]


def expected(one: dict) -> float:
    """Seconds that a piece of work may take, before any is known."""
    if one["part"] == "reward_models":
        return SECONDS["pair"] * max(one["pairs"], 800)
    method = one.get("method", one["part"])
    return SECONDS.get(method) or SECONDS["ppo" if method in REWARDED else "dpo"]


def do(asked: tuple[argparse.Namespace, dict, str, int]) -> tuple[dict, dict | list, float]:
    """A piece of work, in a process of its own: what was asked, what was found, and the seconds it took."""
    flags, one, labels, threads = asked
    begun = time.perf_counter()
    torch.set_num_threads(threads)
    world, details = World(flags), {key: value for key, value in one.items() if key != "part"}
    if one["part"] == "reward_models":
        result = reward_model(world, **details)
    elif one["part"] == "runs":
        more = {"ai_labels": labels} if one["method"] in PREFERRED else {}
        result = (by_rewards if one["method"] in REWARDED else by_preferences)(world, **details, **more)
    else:
        result = {"letters": before, "best_of_n": best_of, "judges": judges, "ai_labels": ai_labels}[one["part"]](world)
    return one, result, time.perf_counter() - begun


def measure(found: dict, flags: argparse.Namespace) -> None:
    """Do what `found` lacks, each piece in a fresh process, whose memory is its own, and keep it at once."""
    threads = max(torch.get_num_threads() // flags.jobs, 1)
    pieces = [one for some in work(flags, found) for one in some]
    total = sum(map(expected, pieces))
    print(f"{len(pieces)} pieces of work, about {total / 60 / flags.jobs:.0f} minutes", flush=True)
    spent, guessed = 0.0, 0.0
    for stage in range(2):
        labels = found.get("ai_labels", {}).get("same", "")
        asked = [(flags, one, labels, threads) for one in work(flags, found)[stage]]
        with multiprocessing.get_context("spawn").Pool(flags.jobs, maxtasksperchild=1) as pool:
            for one, result, seconds in pool.imap_unordered(do, asked, chunksize=1):
                keep(found, one, result)
                spent, guessed = spent + seconds, guessed + expected(one)
                found["seconds"] = found.get("seconds", 0) + seconds
                write_json(flags.json, found)
                left = (total - guessed) * spent / guessed / 60 / flags.jobs
                names = " ".join(str(value) for value in one.values())
                print(f"{names}: {seconds:.0f} s{said(result)}; about {left:.0f} minutes left", flush=True)


def keep(found: dict, one: dict, result: dict | list) -> None:
    """Put a result where it belongs."""
    if len(one) == 1:
        found[one["part"]] = result
        return
    rows = found.setdefault(one["part"], [])
    rows.append({key: value for key, value in one.items() if key != "part"} | result)


def said(result: dict | list) -> str:
    """The numbers of a result that one wants to see at once."""
    keys = ("true", "kl", "reward", "flattery", "accuracy", "truth")
    shown = [f"{key} {result[key]:.3f}" for key in keys if isinstance(result, dict) and key in result]
    return ", " * bool(shown) + ", ".join(shown)


def table(found: dict) -> None:
    """A line for each method: means over the seeds."""
    columns = ("true", "deviations_gained", "kl", "win_rate", "reward", "length", "flattery", "seconds")
    print(f"\n{'':17} seeds" + "".join(f"{column[:10]:>11}" for column in columns))
    for method in METHODS:
        runs = [run for run in found.get("runs", []) if run["method"] == method]
        if runs:
            means = [sum(run[column] for run in runs) / len(runs) for column in columns]
            print(f"{method:17} {len(runs):5}" + "".join(f"{mean:11.3f}" for mean in means))


def draw(found: dict, path: Path) -> None:
    """What is optimised (broken lines) and what was wanted (whole lines), both in deviations of the model before,
    against the root of the distance; bands reach from the lowest to the highest seed.
    """
    start, spread = found["letters"]["true"], found["letters"]["deviation"]
    gained = lambda true: (true - start) / spread  # noqa: E731
    with picture(path, (1, 3), figsize=(10.5, 3.6)) as axes:
        rows = found.get("best_of_n", [])
        line(axes[0], 0, "", [[(math.sqrt(r["kl"]), r["reward"], gained(r["true"])) for r in rows]])
        for number, method in enumerate(("ppo", "ppo without KL", "ppo on the truth")):
            runs = [run for run in found.get("runs", []) if run["method"] == method]
            curves = [
                [(math.sqrt(max(p["distance"], 0)), p["proxy"], gained(p["true"])) for p in run["curve"] if "true" in p]
                for run in runs
            ]
            line(axes[1], number, method, curves)
        betas = ("dpo beta 0.3", "dpo", "dpo beta 0.03")  # from near to far
        seeds = {run["seed"] for run in found.get("runs", [])}
        points = [
            [
                (math.sqrt(max(run["kl"], 0)), run["reward"], gained(run["true"]))
                for beta in betas
                for run in found["runs"]
                if (run["method"], run["seed"]) == (beta, seed)
            ]
            for seed in seeds
        ]
        line(axes[2], 0, "", [curve for curve in points if len(curve) == len(betas)])
        for ax, title in zip(axes, ("best of n", "PPO, over its rounds", "DPO, beta 0.3, 0.1, 0.03")):
            ax.plot([], [], "k--", label="proxy")
            ax.plot([], [], "k-", label="true")
            ax.set(title=title, xlabel="root of the KL divergence (nats^1/2)")
            ax.legend(fontsize=8)
        axes[0].set_ylabel("deviations above the model before")


def line(ax, number: int, name: str, curves: list[list[tuple[float, float, float]]]) -> None:
    """Both curves of a method: means over runs, with bands. curves: (x, proxy, true) of each run."""
    if not curves or not curves[0]:
        return
    colour = COLOURS[number]
    points = torch.tensor(curves)  # (runs, points, 3)
    x = points[..., 0].mean(0)
    for column, style in ((1, "--"), (2, "-")):
        y = points[..., column]
        ax.plot(x, y.mean(0), style, color=colour, marker="o", markersize=3, linewidth=1.2)
        ax.fill_between(x, y.min(0).values, y.max(0).values, color=colour, alpha=0.15, linewidth=0)
    if name:
        ax.plot([], [], color=colour, label=name)


def main() -> None:
    """Measure what is missing, print a table and draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="from_", type=Path, default=ROOT / "runs/letters", help="the model to align")
    parser.add_argument("--reward", type=Path, default=ROOT / "runs/reward", help="the reward model")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=(*PARTS, *METHODS))
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"), help="where to go on from")
    parser.add_argument("--picture", type=Path, default=Path(__file__).with_suffix(".png"))
    parser.add_argument("--jobs", type=int, default=1, help="processes, which share the cores")
    parser.add_argument("--draw", action="store_true", help="the table and the picture of what is there; run nothing")
    parser.add_argument("--rounds", type=int, default=0, help="of PPO and its kin (0: the default), to try this out")
    parser.add_argument("--steps", type=int, default=0, help="of DPO and reward models (0: the default)")
    parser.add_argument("--prompts", type=int, default=200, help="of the test, at most 200")
    flags = parser.parse_args()
    found = json.loads(flags.json.read_text(encoding="utf-8")) if flags.json.exists() else {}
    if not flags.draw:
        found |= {"machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {flags.jobs} at a time"}
        found |= {"best": tales.BEST_SCORE, "possible_accuracy": possible_accuracy()}
        measure(found, flags)
    table(found)
    draw(found, flags.picture)


if __name__ == "__main__":
    main()
