"""What `page` shows beside a model: examples to begin with, and letters that the reader chooses between."""

import json
from itertools import islice
from pathlib import Path

from torch import nn

from minillm import tales
from minillm.align import Constitution, RewardModelScorer, rewards_of, sample_answers, true_scores
from minillm.data import read_preferences, read_prompts
from minillm.hub import Foreign, load_model, load_tokenizer
from minillm.system import Compute
from minillm.text import Tokenizer, read_documents
from minillm.training import RunFolder, latest_run

EXAMPLES, LONGEST = 8, 700  # how many there are to choose from, and the characters of one
MADE = 40  # documents of the world that they are drawn from
SEVERAL = 12  # tokens that are possible next where the page begins: so many bars it has
LETTER_TOKENS = 96  # of an answer at most
LEARN = """python train.py dpo    --from {run} --data preferences.jsonl
python train.py reward --from {run} --data preferences.jsonl"""
GENERAL = ["The capital of France is", "Once upon a time", "To be, or not to be"]
SENTENCES = [
    "A cat sat on the mat.",
    "A kitten rested on the rug.",
    "The market fell by two percent.",
    "Shares lost value.",
]


def page_examples(run: RunFolder, task: str, stage: str, own: bool) -> list:
    """Texts to choose from in a view; of a view with two fields, pairs of texts. own: the model learned other texts."""
    if own:
        return own_examples(run, task)
    if task in ("text", "mask"):
        return [tale.text for tale in tales.make_documents(MADE, 11) if len(tale.text) < LONGEST][:EXAMPLES]
    if task == "chat" and stage in ("letters", "ppo", "dpo"):
        return [prompt.texts[0] for prompt in read_prompts(tales.data_file("prompts_test.jsonl"))[:EXAMPLES]]
    files = {
        "chat": "instructions_test",
        "tags": "tags_test",
        "vectors": "paraphrases_test",
        "reward": "preferences_test",
    }
    files["classes"] = "entailment_test" if stage == "pair" else "sentiment_test"
    lines = tales.data_file(f"{files[task]}.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines[: 6 * EXAMPLES]]
    if task == "chat":
        return [next(turn["content"] for turn in record["messages"]) for record in records][:EXAMPLES]
    if task == "tags":
        return [plain_text(record["tokens"]) for record in records][:EXAMPLES]
    if task == "vectors":
        return ["\n".join(text for record in records[i : i + 3] for text in (record["text_a"], record["text_b"]))
                for i in range(EXAMPLES)]  # fmt: skip
    if task == "reward":
        return [pair.texts[:2] for pair in read_preferences(tales.data_file("preferences_test.jsonl"))[:EXAMPLES]]
    return [[record["text_a"], record["text_b"]] if "text_a" in record else record["text"] for record in records][
        :EXAMPLES
    ]


def own_examples(run: RunFolder, task: str) -> list:
    """Of a model that learned from other texts: the first of them, where they are still there."""
    few = {"text": GENERAL, "mask": ["The capital of France is Paris."], "vectors": ["\n".join(SENTENCES)]}
    if isinstance(run, Foreign):
        return few.get(task, [])
    path = Path(run.config()["settings"].get("data") or "")
    if path.suffix == ".txt" and path.is_file():
        return [text[:LONGEST] for text in read_documents(path, "blank-line")[:EXAMPLES]]
    try:
        with open(path, encoding="utf-8") as file:
            records = [json.loads(line) for line in islice(file, EXAMPLES)] if path.suffix == ".jsonl" else []
        return [one for record in records if (one := fields_of_record(record, task))] or few.get(task, [])
    except (OSError, ValueError):  # it is gone, or something else now
        return few.get(task, [])


def fields_of_record(record: dict, task: str) -> str | list[str] | None:
    """What a record has for the fields of a view; None for nothing."""
    names = [("prompt", "chosen")] if task == "reward" else [("text_a", "text_b"), ("text",)]
    if isinstance(record.get("tokens"), list):
        return plain_text(record["tokens"])
    rows = ([record.get(name) for name in some] for some in names)
    found = next((texts for texts in rows if all(isinstance(text, str) for text in texts)), None)
    if found is None:
        return None
    return "\n".join(found) if task == "vectors" else found if len(found) > 1 else found[0]


def plain_text(words: list[str]) -> str:
    """Words and marks as a text has them."""
    text, quoted = "", False
    for word in words:
        closes = word in ".,;:!?" or (word == '"' and quoted)
        opened = text.endswith('"') and quoted
        text += word if not text or closes or opened else f" {word}"
        quoted ^= word == '"'
    return text


def start_of(examples: list, task: str, tokenizer: Tokenizer, of_world: bool):
    """What stands in the fields when the page is opened: of a tale, as far as a place where much is still possible."""
    if not examples:
        return ""
    if task != "text" or not of_world:
        return examples[0]
    ids = tokenizer.encode(examples[0])
    chances = list(tales.NextToken(tokenizer).along(ids))
    third = len(ids) // 3
    place = max(range(third, len(ids)), key=lambda at: tales.entropy(chances[at]) if len(chances[at]) < SEVERAL else 0)
    return tokenizer.decode(ids[:place])


def judged_pairs(
    run: RunFolder, model: nn.Module, tokenizer: Tokenizer, count: int, reward: Path | None, compute: Compute, seed: int
) -> dict:
    """Two letters to each of some heroes, and what the world, a constitution and a reward model think of them."""
    prompts = read_prompts(tales.data_file("prompts_test.jsonl"))
    count = min(count, len(prompts))
    asked = [prompt.messages for prompt in prompts[:count]]
    model.to(compute.device)
    both = [sample_answers(model, tokenizer, asked, compute, seed + turn, LETTER_TOKENS)[0] for turn in range(2)]
    rows = [row for row in zip(asked, *both) if row[1] != row[2]]
    doubled = [conversation for conversation, *_ in rows for _ in range(2)]
    answers = [answer for _, *pair in rows for answer in pair]
    judges = {"the world, which knows": true_scores(doubled, answers)}
    constitution = Constitution(model, tokenizer, list(tales.CONSTITUTION.values()), compute)
    judges["the constitution, asked of this model"] = rewards_of(constitution, doubled, answers).tolist()
    scorer = scorer_of(reward, tokenizer, compute)
    if scorer is not None:
        judges["the reward model"] = rewards_of(scorer, doubled, answers).tolist()
    model.to("cpu")
    return {
        "pairs": [{"prompt": c[-1]["content"], "answers": [a, b]} for c, a, b in rows],
        "judges": [
            {"name": name, "truth": name.startswith("the world"), "scores": list(zip(scores[0::2], scores[1::2]))}
            for name, scores in judges.items()
        ],
        "learn": LEARN.format(run=run.path),
    }


def scorer_of(path: Path | None, tokenizer: Tokenizer, compute: Compute) -> RewardModelScorer | None:
    """A reward model: the one that was named, or the newest where it fits; None where there is none."""
    try:
        run = RunFolder(path) if path else latest_run("reward")
        if load_tokenizer(run).fingerprint == tokenizer.fingerprint:
            return RewardModelScorer(load_model(run.path, compute.device), tokenizer, compute)
    except ValueError:
        if path:
            raise
        return None
    if path:
        raise ValueError(f"{path} has another tokenizer than the model that writes the letters: name another --reward")
    return None
