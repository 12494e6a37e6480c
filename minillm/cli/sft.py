"""`train.py sft`: a model that continues texts learns to answer (Ouyang et al. 2022, "InstructGPT", section 3.5)."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from torch import nn

from minillm.align import true_scores
from minillm.cli.common import latest_run, new_run, settings_that_hold
from minillm.cli.finetune import SHORTEST, Scored, Task, Tuning, run_finetune, write_predictions
from minillm.cli.flags import flag
from minillm.cli.writing import answers as answers_questions
from minillm.data import IGNORE_INDEX, ConversationRecord, Padded, Parts, chat_example, pack, read_conversations
from minillm.hub import load_causal, load_tokenizer
from minillm.inference import Question, ask, ask_base, questions_of, summary
from minillm.models import LSTMLM
from minillm.system import Compute, pick_device, write_text
from minillm.text import Tokenizer
from minillm.training import RunFolder, causal_lm

SHOWN = 12  # answers in samples.txt
ASKED = 1000  # questions at most that a model is scored on
LEARNED_FROM = ("answers", "everything")
TASKS = ("instructions", "letters")
REHEARSED = 600  # older conversations beside the letters: what was learned before is not to be lost
LETTER_EPOCHS = 1.6


@dataclass(frozen=True, kw_only=True)
class SFT(Tuning):
    """Settings of `sft`."""

    from_: Path | None = flag(None, "the run to begin with (default: the newest of pretrain; for letters, of sft)")
    task: str = flag("instructions", "what of the tales, without --data; letters: on a run of sft", choices=TASKS)
    epochs: float = flag(0.0, f"passes over the data; {SHORTEST} steps at least (0: 4; of letters {LETTER_EPOCHS})")
    batch_size: int = flag(4, "conversations in a step; with --pack, rows of them")
    learning_rate: float = flag(5e-3, "peak rate of AdamW: embeddings and the output layer")
    matrix_learning_rate: float = flag(0.01, "peak rate of Muon: the trunk's matrices")
    learn: str = flag("answers", "what the loss counts: the answers, or the questions too", choices=LEARNED_FROM)
    pack: bool = flag(False, "put several short conversations into a row, each out of the others' sight")


def sft_example(
    record: ConversationRecord, tokenizer: Tokenizer, frame, context: int, classes: dict, learn: str = "answers"
) -> dict:
    """A conversation as `examples.chat_example` makes it; with learn="everything" every token is a label."""
    example = chat_example(record.messages, tokenizer, context)
    return example if learn == "answers" else {**example, "labels": list(example["input_ids"])}


def build(task: Task, settings: SFT, texts: list[str], classes: int) -> tuple[Tokenizer, nn.Module]:
    """The model to tune, and its tokenizer."""
    run = source(settings)
    tokenizer, model = load_tokenizer(run), load_causal(run)
    if settings.pack and isinstance(model, LSTMLM):
        raise ValueError("--pack needs attention, which can look away; an LSTM remembers whatever stood before")
    if settings.pack and settings.method in ("prompt", "ptuning"):
        raise ValueError(f"--pack and --method {settings.method}: a prompt stands before one text, not before several")
    return tokenizer, model


def source(settings: SFT) -> RunFolder:
    """The run to begin with."""
    return RunFolder(settings.from_) if settings.from_ else latest_run("sft" if with_letters(settings) else "pretrain")


def with_letters(settings: SFT) -> bool:
    """Whether letters are learned."""
    return settings.task == "letters" and settings.data is None


def letters(path: Path) -> list[ConversationRecord]:
    """The letters of a file, and some of the older questions to rehearse; the old test stays whole."""
    found = read_conversations(path)
    return found[:REHEARSED] if path.name == "instructions_train.jsonl" else found


def batches(examples: list[dict], tokenizer: Tokenizer, settings: SFT, seed: int | None) -> Padded:
    """Batches of conversations, or of rows packed with them. One without an answer that fits is left out."""
    answered = [example for example in examples if any(label != IGNORE_INDEX for label in example["labels"][1:])]
    if len(answered) < len(examples):
        print(f"{len(examples) - len(answered)} conversations have no answer within the context, and are left out")
    if not answered:
        raise ValueError("no conversation has an answer that fits into the context: bring shorter ones")
    rows = pack(answered, settings.context) if settings.pack else answered
    return Padded(rows, tokenizer.pad_id, settings.batch_size, seed=seed, causal=True)


def asked_of(records: list[ConversationRecord]) -> list[Question]:
    """The questions that a model is scored on: every answer of each conversation, up to ASKED."""
    return questions_of([{"messages": r.messages, "kinds": r.kinds} for r in records])[:ASKED]


def answers(model: nn.Module, scored: Scored, settings: SFT, compute: Compute) -> list[str]:
    """What the tuned model answers."""
    questions = asked_of(scored.records)
    print(f"asking {len(questions):,} questions")
    with compute.autocast():
        return ask(model, scored.tokenizer, questions, progress=True)


def report(outputs: list[str], scored: Scored) -> dict:
    """Exact match and ROUGE-L, by kind of question; predictions.jsonl and samples.txt."""
    questions = asked_of(scored.records)
    rows = [
        {"messages": q.messages, "kind": q.kind, "answer": q.answer, "predicted": answer}
        for q, answer in zip(questions, outputs)
    ]
    write_predictions(scored.run, rows)
    shown = [f"{row['messages'][-1]['content']}\n-> {row['predicted']}\n   expected: {row['answer']}" for row in rows]
    write_text(scored.run.path / "samples.txt", "\n\n".join(shown[:SHOWN]) + "\n")
    scores = summary(questions, outputs)
    written = [(q.messages, answer) for q, answer in zip(questions, outputs) if q.kind == "letter"]
    if written:
        true = true_scores(*zip(*written))
        scores["true_score_of_letters"] = sum(true) / len(true)
    for kind, row in scores["kinds"].items():
        print(f"  {kind or 'all':10s} right {row['right']:.3f}, ROUGE-L {row['rouge_l']:.3f} of {row['n']}")
    return scores


def baselines(parts: Parts, names: list[str], settings: SFT) -> dict:
    """The model before tuning; one that knows no template gets the earlier answers of a conversation as examples."""
    run, compute = source(settings), pick_device(settings.device, settings.dtype)
    questions = asked_of(parts.test)
    print("asking the model before tuning")
    asking, name = (ask, "before") if answers_questions(run) else (ask_base, "before, few-shot")
    with compute.autocast():
        before = asking(load_causal(run, compute.device), load_tokenizer(run), questions, progress=True)
    return {name: summary(questions, before)}


INSTRUCT = Task(
    stage="sft",
    files=("instructions",),
    read=read_conversations,
    labels=None,
    example=sft_example,
    objective=causal_lm,
    report=report,
    baselines=baselines,
    head=None,
    build=build,
    batches=batches,
    answer=answers,
)


def run_sft(settings: SFT, given: dict) -> int:
    """Teach a pre-trained model to answer: instruction tuning, on conversations. Only the answers are learned.

    python train.py sft                                  questions about the tales, in the newest run of pretrain
    python train.py sft --from runs/pretrain --data my.json
    python train.py sft --task letters                   then letters about tales, good and bad, into runs/letters
    python train.py sft --show                           one conversation, token by token: what is learned of it
    python train.py chat --from runs/sft                 ask it

    A record of --data is {"instruction", "input", "output"}, {"prompt", "completion"} or {"messages": [...]}.
    """
    settings = settings_that_hold(settings, given, "sft")
    if not settings.resume:  # the run says where it began, so that it goes on from there when another is the newest
        epochs = settings.epochs or (LETTER_EPOCHS if with_letters(settings) else 4.0)
        out = settings.out or (new_run(None, "letters").path if with_letters(settings) else None)
        settings = replace(settings, from_=source(settings).path, epochs=epochs, out=out)
    task = replace(INSTRUCT, example=partial(sft_example, learn=settings.learn))
    if with_letters(settings):
        task = replace(task, files=("letters", "instructions"), read=letters)
    return run_finetune(task, settings, given)
