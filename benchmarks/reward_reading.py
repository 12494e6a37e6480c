"""What a reward model can learn to read of a tale: pairs of letters that differ in one thing, and no noise.

    python train.py && python train.py sft && python train.py sft --task letters --out runs/letters
    python benchmarks/reward_reading.py --json FILE

Both letters of a pair have the same traits, drawn as those of the preferences, but for one thing, which is right in
the better and wrong in the worse. All else is worded anew, or the two are the same but for one sentence. Who does not
look into the tale is right half of the time. Trained with the default settings of `reward`, once per thing, wording and
seed, and scored on 300 other pairs.
"""

import argparse
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from minillm import tales
from minillm.align import RewardModelScorer, rewards_of, train_reward
from minillm.cli import RewardSettings, prepare, tuning_config
from minillm.hub import load_causal, load_tokenizer
from minillm.metrics import bootstrap_interval
from minillm.models import RewardModel
from minillm.system import pick_device, read_json, seed_everything, write_json
from minillm.tales import Tale, Traits, ask_for_letter, data_file, draw_traits, understand, write_letter
from minillm.training import RunFolder

ROOT = Path(__file__).resolve().parents[1]
THINGS = {  # what differs: the trait, right and wrong, and the acts of the sentence that tells it
    "the hero's name": ({"greeting": "right"}, {"greeting": "wrong"}, ("greeting",)),
    "how the tale ends": ({"feeling": "suits"}, {"feeling": "jars"}, ("glad", "sad")),
    "how the friend felt": ({"news": ("true",)}, {"news": ("false",)}, ("mood",)),
    "what happened": ({"news": ("true",)}, {"news": ("false",)}, ("event",)),
}
WORDINGS = ("same", "anew")
SCORED = 300  # pairs of the test


def letter(tale: Tale, traits: Traits, acts: tuple[str, ...], rng: random.Random) -> str:
    """A letter with some traits that has a sentence of one of the acts."""
    while True:
        text = write_letter(tale, traits, rng)
        if any(sentence.act in acts for sentence in understand(text)):
            return text


def with_sentence(letter: str, other: str, acts: tuple[str, ...]) -> str:
    """The letter with the other's sentence of one of the acts in the place of its own."""
    new = next(sentence for sentence in understand(other) if sentence.act in acts)
    return " ".join((new if sentence.act in acts else sentence).text for sentence in understand(letter))


def pairs(thing: str, wording: str, seed: str) -> Iterator[tuple]:
    """(conversation, better letter, worse letter), without end."""
    *traits_of, acts = THINGS[thing]
    rng = random.Random(f"{thing} {seed}")
    while True:
        tale, prompt = ask_for_letter(rng)
        traits = replace(draw_traits(rng), cut=False, stutter="", repeats=0)
        better, worse = (letter(tale, replace(traits, **some), acts, rng) for some in traits_of)
        if wording == "same":
            worse = with_sentence(better, worse, acts)
        yield [{"role": "user", "content": prompt}], better, worse


def accuracy(thing: str, wording: str, seed: int, flags: argparse.Namespace) -> dict:
    """How often a reward model that has learned from clean pairs is right about others."""
    run = RunFolder(flags.from_)
    tokenizer, settings = load_tokenizer(run), RewardSettings(from_=flags.from_)
    seed_everything(seed)
    prepared = prepare(RewardModel(load_causal(run)), settings.method, tokenizer, seed)
    learned = list(islice(pairs(thing, wording, f"train {seed}"), flags.pairs))
    config = tuning_config(settings, len(learned), prepared)
    history = train_reward(
        prepared.model, tokenizer, learned, config, batch_size=settings.training.batch_size, centre=settings.centre,
        seed=seed, progress=False,
    )  # fmt: skip
    if history.stopped:
        raise SystemExit("stopped: what has ended is kept")
    rewards = RewardModelScorer(prepared.model, tokenizer, pick_device("cpu", "fp32"))
    right = []
    for prompt, better, worse in islice(pairs(thing, wording, "test"), SCORED):
        high, low = rewards_of(rewards, [prompt] * 2, [better, worse]).tolist()
        right.append(high > low)
    interval = bootstrap_interval(right)
    return {"accuracy": interval.mean, "low": interval.low, "high": interval.high, "seconds": history.seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--from", dest="from_", type=Path, default=ROOT / "runs/letters", help="the model to begin with"
    )
    parser.add_argument("--pairs", type=int, default=2000, help="to learn from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--only", nargs="+", choices=THINGS, default=list(THINGS))
    parser.add_argument("--json", type=Path, help="where to keep what is found, and to go on from")
    flags = parser.parse_args()
    rows = read_json(flags.json) if flags.json and flags.json.exists() else []
    work = [
        {"thing": thing, "wording": wording, "pairs": flags.pairs, "seed": seed}
        for seed in flags.seeds
        for thing in flags.only
        for wording in WORDINGS
    ]
    left = [one for one in work if not any(one.items() <= row.items() for row in rows)]
    print(f"{len(left)} reward models, about {len(left) * flags.pairs / 1600:.0f} minutes on one core", flush=True)
    for one in tqdm(left, unit="model"):
        rows.append(one | accuracy(one["thing"], one["wording"], one["seed"], flags))
        if flags.json:
            write_json(flags.json, rows)
    test = [json.loads(line) for line in open(data_file("preferences_test.jsonl"), encoding="utf-8")]
    possible, fond = tales.best_accuracy(test), tales.best_accuracy(test, taken_for_biased=True)
    print(f"of the people's pairs in the test {possible:.3f} are possible, and {fond:.3f} by all that the people teach")
    print("| what differs | words of the rest | pairs | seed | right of other pairs |\n|---|---|---|---|---|")
    for row in rows:
        found = f"{row['accuracy']:.3f} ({row['low']:.2f} to {row['high']:.2f})"
        print(f"| {row['thing']} | {row['wording']} | {row['pairs']:,} | {row['seed']} | {found} |")


if __name__ == "__main__":
    main()
