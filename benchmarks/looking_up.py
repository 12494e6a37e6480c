"""Know it or look it up: questions about a collection of tales, answered from memory, from a document, and not at all.

    python benchmarks/looking_up.py --json benchmarks/looking_up.json --seeds 0 1 2

A collection of 100 tales and 200 questions about them, a fifth of which has no answer (`tales.make_lookups`). All
begins with the ready models of `sft` and `mlm`. Per seed, which makes the collection and the training examples:

untaught   the ready model of `sft`, asked without a document and with the right one
reader     the same, tuned on tales with questions about them and about other friends: with the right document, with
           the one that words find and the one that an encoder finds, and with one that is made up
finder     the encoder of `mlm`, tuned on questions and their tales
memory     the reader, tuned on all questions and answers of the collection without a document; then the world changes:
           each tale is told anew with other facts, and it is asked again, without and with the new tale

`right` is the share of the questions with an answer that is exactly so; `refused` of those without one, `false_alarm`
of those with one, that are answered by "The tale does not say.". A killed run goes on with the seeds that are missing.
"""

import argparse
import random
import time
from collections.abc import Sequence
from pathlib import Path

from minillm import tales
from minillm.course import mlm_run, sft_run
from minillm.data import Padded, chat_example, frame_of, text_example, user_message
from minillm.hub import load_model, load_tokenizer
from minillm.inference import EncoderFinder, Index, Passage, Question, WordFinder, ask
from minillm.models import TextEncoder
from minillm.system import read_json, seed_everything, write_json
from minillm.training import TrainConfig, causal_lm, contrastive, fit

TALES, QUESTIONS = 100, 200
FIT = {"device": "cpu", "dtype": "fp32", "eval_every": 10**6, "decay_share": 0.9}
SFT = {"learning_rate": 5e-3, "matrix_learning_rate": 0.01}
ENCODE = {"learning_rate": 2e-3, "matrix_learning_rate": 0.02}
READER, FINDER, MEMORY = (4, 500), (16, 100), (16, 400)  # examples in a step, and steps


def learned(model, objective, examples: Sequence, pad: int, size: tuple[int, int], seed: int, **rates):
    """A model after some steps on examples."""
    batch, steps = size
    batches = Padded(examples, pad, batch, seed=seed, **({"causal": True} if objective is causal_lm else {}))
    config = TrainConfig(steps=steps, warmup=steps // 10, **rates, **FIT)
    if fit(model, objective, batches, config, progress=False).stopped:
        raise SystemExit("stopped: the seeds that have ended are kept")
    return model.eval()


def shares(lookups: Sequence, answers: Sequence[str]) -> dict:
    """Which questions with an answer are right, and which are refused: of those with an answer, and of those without.

    0 or 1 each, so that who reads it can count, and see how far a count of so few can be trusted.
    """
    known = [(a, one.answer) for a, one in zip(answers, lookups) if one.document is not None]
    absent = [a for a, one in zip(answers, lookups) if one.document is None]
    return {
        "right": [int(a == b) for a, b in known],
        "false_alarm": [int(a == tales.REFUSAL) for a, _ in known],
        "refused": [int(a == tales.REFUSAL) for a in absent],
    }


def against(answers: Sequence[str], old: Sequence[str], new: Sequence[str]) -> dict:
    """Which answers are the old ones, the new ones, or a refusal; 0 or 1 each."""
    rows = list(zip(answers, old, new, strict=True))
    return {
        "old": [int(a == x) for a, x, _ in rows],
        "new": [int(a == y) for a, _, y in rows],
        "refused": [int(a == tales.REFUSAL) for a, *_ in rows],
    }


def one_seed(seed: int) -> dict:
    """Everything of a seed."""
    seed_everything(seed)
    tokenizer, sft = load_tokenizer(sft_run()), load_model(sft_run().path)
    collection = tales.make_collection(TALES, 1000 + seed)
    lookups = tales.make_lookups(collection, QUESTIONS, 1000 + seed)
    questions, texts = [one.question for one in lookups], [tale.text for tale in collection]
    passages = [Passage(text, f"tales.txt, document {n}") for n, text in enumerate(texts, 1)]

    def say(model, documents: Sequence[str] | None = None, asked: Sequence[str] = questions) -> list[str]:
        prompts = [tales.with_document(d, q) for d, q in zip(documents, asked, strict=True)] if documents else asked
        return ask(model, tokenizer, [Question(user_message(prompt), "") for prompt in prompts], longest=16)

    def find(finder) -> list[int]:
        return Index.of(passages, finder).top(finder.vectors(questions))[1][:, 0].tolist()

    words = find(WordFinder(texts))
    oracle = [texts[near if one.document is None else one.document] for one, near in zip(lookups, words)]
    found = {"untaught": {"closed book": shares(lookups, say(sft)), "oracle": shares(lookups, say(sft, oracle))}}

    pairs = tales.make_question_pairs(FINDER[0] * FINDER[1], seed)
    encoder, own = TextEncoder(load_model(mlm_run().path), "mean"), load_tokenizer(mlm_run())
    frame = frame_of(encoder.trunk, own)
    rows = [tuple(text_example(own.encode(p[key]), frame, 256) for key in ("text_a", "text_b")) for p in pairs]
    encoder = learned(encoder, contrastive, rows, own.pad_id, FINDER, seed, **ENCODE)
    near = find(EncoderFinder(encoder, own, 256))
    answered = [place for place, one in enumerate(lookups) if one.document is not None]
    found["recall"] = {
        name: sum(places[i] == lookups[i].document for i in answered) / len(answered)
        for name, places in (("words", words), ("encoder", near))
    }

    chats = [r["messages"] for r in tales.make_lookup_instructions(READER[0] * READER[1], seed)]
    rows = [chat_example(chat, tokenizer, 256) for chat in chats]
    reader = learned(sft, causal_lm, rows, tokenizer.pad_id, READER, seed, **SFT)
    found["reader"] = {
        "closed book": shares(lookups, say(reader)),
        "oracle": shares(lookups, say(reader, oracle)),
        "words": shares(lookups, say(reader, [texts[i] for i in words])),
        "encoder": shares(lookups, say(reader, [texts[i] for i in near])),
    }
    changed = [tales.planted(tale, seed) for tale in collection]
    both = list(zip(tales.questions_about(collection), tales.questions_about(changed)))
    both = [(place, q, old, new) for place, (was, now) in enumerate(both) for q, old in was.items()
            if (new := now.get(q)) is not None]  # fmt: skip
    places, asked, old, new = zip(*random.Random(seed).sample(both, QUESTIONS))
    fresh = [changed[place].text for place in places]
    found["planted"] = against(say(reader, fresh, asked), old, new)

    facts = [(q, a) for tale in tales.questions_about(collection) for q, a in tale.items()]
    chats = [[*user_message(q), {"role": "assistant", "content": a}] for q, a in facts]
    rows = [chat_example(chat, tokenizer, 256) for chat in chats]
    memory = learned(reader, causal_lm, rows, tokenizer.pad_id, MEMORY, seed, **SFT)
    found["memory"] = {
        "facts": len(facts),
        "closed book": against(say(memory, None, asked), old, new),
        "new document": against(say(memory, fresh, asked), old, new),
        "nobody": shares(lookups, say(memory)),
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True, help="where to keep what is found, and to go on from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    flags = parser.parse_args()
    settings = {"tales": TALES, "questions": QUESTIONS, "reader": READER, "finder": FINDER, "memory": MEMORY}
    found = read_json(flags.json) if flags.json.exists() else {"settings": settings, "runs": []}
    for seed in flags.seeds:
        if any(run["seed"] == seed for run in found["runs"]):
            continue
        began = time.process_time()
        run = {"seed": seed, **one_seed(seed)}
        found["runs"].append(run | {"processor_seconds": round(time.process_time() - began)})
        write_json(flags.json, found)
        print(f"seed {seed}: {found['runs'][-1]['processor_seconds']} processor seconds", flush=True)


if __name__ == "__main__":
    main()
