"""The page at the end of a tour: what each stage cost and gained, curves with their floors, samples side by side."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from minillm import tales
from minillm.align import PPOConfig, sample_answers, true_scores
from minillm.cli.settings import Machine
from minillm.data import Windows, read_conversations, read_prompts, tokenize
from minillm.hub import load_causal, load_tokenizer
from minillm.inference import (
    Question,
    against_the_world,
    ask,
    ask_base,
    beside_the_world,
    plain,
    questions_of,
    summary,
    write,
)
from minillm.metrics import Interval, bootstrap_interval
from minillm.report import COLOURS, coloured_text, html, picture
from minillm.system import Compute, duration, pick_device
from minillm.text import Tokenizer
from minillm.training import RunFolder, causal_lm, knows_template, mean_loss

SHOWN_PROMPTS = 3  # prompts whose answers stand side by side
LETTERS = 100  # whose true scores are compared
CONVERSATIONS = 60  # whose questions are asked
DOCUMENTS = 200  # of validation text
BESIDE = 20  # of them that are held against the world's own probabilities
TITLES = {
    "bigram": "A table of pairs",
    "pretrain": "A transformer learns to tell tales",
    "sft": "It learns to answer",
    "letters": "It learns to write letters",
    "reward": "A model of what people prefer",
    "ppo": "A policy that pleases the reward model",
    "dpo": "The same without a reward model",
}
ABOUT = {
    "bigram": "The baseline: how often each token follows each other one. It knows words and no sentence.",
    "pretrain": "The same text, read with attention: what comes late in a tale depends on what came early.",
    "sft": "Conversations about tales, of which only the answers are learned.",
    "letters": "Letters to the hero of a tale, as people write them: good ones and bad ones. Questions about each "
    "letter come after it, so that the model can also judge; and some older questions, lest they be forgotten.",
    "reward": "From pairs of letters, of which people chose one, a scalar head learns how good a letter is. People "
    "err, so no model can be right about all of them; and they like flattery, which the true score does not count.",
    "ppo": "Letters are sampled, rewarded, and made likelier or less likely, near to what the model wrote before.",
    "dpo": "The chosen letters become likelier than the rejected ones, directly. Both may become less likely: the "
    "distance between them is what is learned.",
}
PICTURES = {
    "bigram": [("loss.png", "Loss by step; no model can go below the floor, the exact entropy of the text.")],
    "pretrain": [("loss.png", "Loss by step, with the bigram's and the floor.")],
    "sft": [("loss.png", "Loss on the answers by step.")],
    "letters": [("loss.png", "Loss on letters and answers by step.")],
    "reward": [("reliability.png", "How often it is right, by how sure it is. The numbers count pairs.")],
    "ppo": [("ppo.png", "Round by round. The reward is what it learns from; the true score it never sees.")],
    "dpo": [("loss.png", "Loss on pairs by step; it begins at ln 2 = 0.693."), ("answers.png", "Held-out pairs.")],
}


class Found(NamedTuple):
    """What a model of the tour can do."""

    loss: float  # nats per token of tales
    right: float  # share of the questions that have one right answer
    score: Interval  # the true score of its letters
    deviation: float
    words: float  # a letter
    letters: list[str]


def life_story(runs: dict[str, RunFolder], machine: Machine) -> str:
    """The page of finished runs, by stage."""
    compute = pick_device(machine.device, machine.dtype)
    metrics = {stage: run.metrics() for stage, run in runs.items()}
    folder = runs["pretrain"].path.parent
    asked = read_prompts(tales.data_file("prompts_test.jsonl"))[:LETTERS]
    prompts = [record.messages for record in asked]
    found = {
        stage: measured(stage, run, prompts, compute, machine.seed) for stage, run in runs.items() if has_words(stage)
    }
    total = sum(row["seconds"] for row in metrics.values())
    parts = [
        html.paragraph(
            f"Everything on this page was trained on this machine, one stage after another, in {duration(total)} of "
            "training. The text is a small world in which every probability is known: its loss has a floor, and a "
            "letter has a true score, which no model is told."
        ),
        html.link(
            "page.html", "See what the models see", ": the model before and after tuning, beside the exact world."
        ),
        html.link("letters.html", "Choose between letters", " yourself, and compare with those who judged here."),
        *distance_section(runs["pretrain"]),
        *gains(found, folder),
        *costs(metrics, runs),
        *tokens(load_tokenizer(runs["pretrain"]), folder),
    ]
    for stage, run in runs.items():
        parts += [html.heading(TITLES[stage]), html.paragraph(ABOUT[stage])]
        parts += [html.image(run.path / name, caption) for name, caption in PICTURES[stage]]
    return html.page("The life of a language model", [*parts, *stories(runs, machine.seed), *letters(found, prompts)])


def has_words(stage: str) -> bool:
    """Whether the model of a stage writes."""
    return stage != "reward"


def measured(stage: str, run: RunFolder, prompts: list, compute: Compute, seed: int) -> Found:
    """Ask a model everything that all of them are asked."""
    tokenizer, model = load_tokenizer(run), load_causal(run, compute.device)
    windows = Windows(tokenize(tales.load_documents("tales_valid.txt")[:DOCUMENTS], tokenizer), 256, 16)
    loss = mean_loss(model, causal_lm, windows, compute)
    questions = test_questions()
    with compute.autocast():
        said = (ask if knows_template(run) else ask_base)(model, tokenizer, questions)
    own = (
        sample_answers(model, tokenizer, prompts, compute, seed, PPOConfig.max_new_tokens)[0]
        if knows_template(run)
        else continued(model, tokenizer, prompts, compute, seed)
    )
    scores = true_scores(prompts, own)
    words = sum(len(letter.split()) for letter in own) / len(own)
    deviation = float(torch.tensor(scores).std())
    return Found(loss, summary(questions, said)["exact_match"], bootstrap_interval(scores), deviation, words, own)


def distance_section(run: RunFolder) -> list[str]:
    """How far the pre-trained model is from the world's own probabilities, and where it is furthest."""
    tokenizer, model = load_tokenizer(run), load_causal(run)
    documents = tales.load_documents("tales_valid.txt")[:BESIDE]
    found = beside_the_world(model, tokenizer, documents, tales.NextToken(tokenizer))
    said = against_the_world(found, tokenizer, documents)

    def likely(chances: dict[str, float]) -> str:
        return ", ".join(f"{text!r} {p:.0%}" for text, p in chances.items())

    rows = [(slip["after"], likely(slip["model"]), likely(slip["world"]), slip["kl"]) for slip in said["slips"]]
    return [
        html.heading("How far from the truth"),
        html.paragraph(
            f"At each token the world's own probabilities are known. The model's are {said['kl']:.3f} nats away on "
            f"average (KL divergence; the world's entropy is {said['entropy']:.3f}); {said['impossible']:.1%} of its "
            "probability goes to what cannot come. It is furthest here:"
        ),
        html.table(("after", "the model says", "the world says", "nats"), rows),
    ]


def test_questions() -> list[Question]:
    """Questions about tales that no model has seen, of the kinds that have one right answer."""
    records = read_conversations(tales.data_file("instructions_test.jsonl"))[:CONVERSATIONS]
    asked = questions_of([{"messages": record.messages, "kinds": record.kinds} for record in records])
    return [question for question in asked if question.kind not in tales.OPEN_KINDS]


def continued(model: nn.Module, tokenizer: Tokenizer, prompts: Sequence, compute: Compute, seed: int) -> list[str]:
    """What a model that knows no template writes behind each prompt, up to the end of the line."""
    generator = torch.Generator(compute.device).manual_seed(seed)
    texts = [plain(prompt) for prompt in prompts]
    length = PPOConfig.max_new_tokens
    with compute.autocast():
        return write(model, tokenizer, texts, length, 1.0, top_p=1.0, stop=["\n"], generator=generator)


def gains(found: dict[str, Found], folder: Path) -> list[str]:
    """What every model can do: a picture and a table."""
    path = folder / "scores.png"
    with picture(path, figsize=(6.4, 2.6)) as ax:
        for y, row in enumerate(found.values()):
            low, high = row.score.mean - row.score.low, row.score.high - row.score.mean
            ax.errorbar(row.score.mean, y, xerr=[[low], [high]], fmt="o", color=COLOURS[0], capsize=3)
        ax.axvline(tales.BEST_SCORE, color="#444444", linestyle="--", linewidth=0.9, label="the best letter")
        ax.set_yticks(range(len(found)), found)
        ax.invert_yaxis()
        ax.set(xlabel=f"true score of {LETTERS} letters, with 95 % intervals")
        ax.legend()
    rows = [(stage, row.loss, row.right, row.score.mean, row.deviation, row.words) for stage, row in found.items()]
    header = ("model", "loss on tales", "questions right", "true score of letters", "its deviation", "words a letter")
    return [
        html.heading("What each model can do"),
        html.image(path, "How good the letters are that each model writes."),
        html.table(header, rows),
        html.paragraph(
            "The loss is in nats per token. The questions are those with one right answer; the first two models get "
            "the earlier questions and answers of a conversation as examples, the others know its template. To be "
            "taught to answer costs the tales: a tuned model no longer tells them well."
        ),
    ]


def costs(metrics: dict[str, dict], runs: dict[str, RunFolder]) -> list[str]:
    """What each stage took, and what it reached on its own terms."""
    rows = [
        (stage, row["seconds"], row["trainable_parameters"], (row["peak_memory_bytes"] or 0) / 1e6, reached(stage, row))
        for stage, row in metrics.items()
    ]
    header = ("stage", "seconds", "parameters that learn", "memory (MB)", "reached")
    return [html.heading("What each stage cost, and what it gained"), html.table(header, rows)]


def reached(stage: str, row: dict) -> str:
    """What a stage reached, in a sentence."""
    if stage in ("bigram", "pretrain"):
        return f"loss {row['val_loss']:.3f}; the floor is {html.shown(row['floor'])}"
    if stage == "letters":
        return f"letters with a true score of {row['true_score_of_letters']:.2f} at temperature 0"
    if stage == "sft":
        before = row["baselines"]["before, few-shot"]["exact_match"]
        return f"{row['exact_match']:.0%} of the questions right, {before:.0%} before"
    if stage == "reward":
        best = row["baselines"]["the best that the noise allows"]["accuracy"]
        return f"right in {row['accuracy']:.1%} of held-out pairs; the noise allows {best:.1%}"
    won = f"true score {row['true_score']:.2f}, {row['true_score_before']:.2f} before; wins {row['win_rate']:.0%}"
    return f"{won}; {row['kl']:.1f} nats from where it was"


def tokens(tokenizer: Tokenizer, folder: Path) -> list[str]:
    """What a model really reads."""
    tale = tales.load_documents("tales_valid.txt")[0]
    ids = tokenizer.encode(tale)
    pieces = [tokenizer.decode([token]) for token in ids]
    path = folder / "tokens.png"
    pale = ["#cfe3f1", "#f6dcc9", "#cfe9df", "#f1dcea"]
    with picture(path, figsize=(6.4, 0.22 * (1 + len(tale) // 78))) as ax:
        coloured_text(pieces, [pale[i % len(pale)] for i in range(len(pieces))], ax=ax)
    return [
        html.heading("Text becomes tokens"),
        html.paragraph(
            f"A model reads numbers. Pairs of characters that often stand together were merged until there were "
            f"{tokenizer.vocab_size:,} tokens; this tale of {len(tale)} characters is {len(ids)} of them."
        ),
        html.image(path, "A tale, each token on its own ground."),
    ]


def stories(runs: dict[str, RunFolder], seed: int) -> list[str]:
    """What the models that continue texts write, side by side."""
    told = {}
    for stage in ("bigram", "pretrain"):
        generator = torch.Generator().manual_seed(seed)
        model, tokenizer = load_causal(runs[stage]), load_tokenizer(runs[stage])
        told[stage] = write(model, tokenizer, [""], 120, generator=generator)[0]
    return [html.heading("Two tales"), html.texts(told)]


def letters(found: dict[str, Found], prompts: Sequence) -> list[str]:
    """What each model answers to the same prompts, with the true score of each answer."""
    parts = [
        html.heading("The same letters, by every model"),
        html.paragraph(f"Beside each model's name stands the letter's true score; {tales.BEST_SCORE:.1f} is the best."),
    ]
    for number, prompt in enumerate(prompts[:SHOWN_PROMPTS]):
        own = {stage: row.letters[number] for stage, row in found.items()}
        scores = {stage: true_scores([prompt], [letter])[0] for stage, letter in own.items()}
        parts += [
            html.quotation(prompt[-1]["content"]),
            html.texts({f"{stage}: {scores[stage]:+.1f}": letter or "(nothing)" for stage, letter in own.items()}),
        ]
    return parts
