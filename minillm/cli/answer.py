"""`train.py answer`: questions to a model that is shown what the documents say, and an answer that names its source."""

import sys
from dataclasses import dataclass
from pathlib import Path

from minillm.cli.flags import auto, flag, group
from minillm.cli.generate import compute_of
from minillm.cli.settings import ChatTemplate, Machine
from minillm.hub import dtype_of_others, is_foreign, load_causal, load_model, load_tokenizer, model_kind, source
from minillm.inference import (
    EncoderFinder,
    Finder,
    Index,
    Passage,
    WordFinder,
    cut_passages,
    messages_with,
    passages_fingerprint,
    reply,
)
from minillm.models import Encoder, TextEncoder
from minillm.system import Compute, check_file, to_json, write_text
from minillm.text import Tokenizer, read_documents, read_each, text_field
from minillm.training import knows_template, named_or_latest

ANSWER = 32  # tokens of an answer, after which it is cut off
PASSAGE = 256  # tokens of a passage at most, where a model could read more


@dataclass(frozen=True, kw_only=True)
class AnswerSettings:
    """Questions."""

    from_: Path | None = flag(None, "the run whose model answers (default: the newest of sft)")
    with_: Path | None = flag(None, "the documents: .txt with blank lines between them, or records with text")
    finder: Path | None = flag(None, "the run of encode that finds the passages; without it, words that are rare do")
    question: str = flag("", "one question")
    data: Path | None = flag(None, 'many: .jsonl, .csv or .tsv with "question"')
    top: int = flag(1, "passages that the model is shown; of several as many as fit")
    index: Path | None = flag(None, "a folder for the vectors of the documents, which are then made once")
    passage: int | None = auto(f"tokens of a passage; auto: what leaves room for a question, up to {PASSAGE}")
    max_new_tokens: int = flag(ANSWER, "tokens after which an answer is cut off")
    out: Path | None = flag(None, "a .jsonl file for the answers, instead of the screen")
    chat: ChatTemplate = group(ChatTemplate)
    machine: Machine = group(Machine)


def run_answer(settings: AnswerSettings, given: dict) -> int:
    """Answer questions from documents: the passage that is nearest to a question is found and shown to the model.

    python train.py answer --from runs/sft --with tales.txt --question "Where did Mira live?"
    python train.py answer --from runs/sft --with tales.txt --finder runs/encode --index runs/index --data asked.jsonl

    Each answer names its source, the file and the number of the document. Greedy: the same each time.
    """
    questions = _questions(settings)
    if settings.with_ is None:
        raise ValueError("answer needs --with, a file of documents to look in")
    if settings.top < 1 or settings.max_new_tokens < 1:
        raise ValueError(f"--top {settings.top} and --max-new-tokens {settings.max_new_tokens} must be at least 1")
    if settings.out is not None:
        check_file(settings.out)
    documents = read_documents(settings.with_)
    run = source(named_or_latest(settings.from_, "sft").path, settings.chat.template)
    if not knows_template(run):
        raise ValueError(f"{run.path} holds a model that was never taught to answer: name a run of sft by --from")
    compute = compute_of(run, settings.machine)
    tokenizer, model = load_tokenizer(run), load_causal(run, compute.device, dtype_of_others(run, compute.dtype))
    context = getattr(model.config, "context", 256)
    room = context - settings.max_new_tokens - context // 8  # the last for the question and the template
    if room < (settings.passage or 1):
        raise ValueError(f"a context of {context} tokens has room for passages of {room}: lower --max-new-tokens")
    passages = cut_passages(documents, settings.with_.name, tokenizer, settings.passage or min(room, PASSAGE))
    finder = finder_of(settings, documents, compute)
    scores, places = index_of(settings, passages, finder).top(finder.vectors(questions), settings.top)
    shown = [fitting([passages[p] for p in row], q, tokenizer, context - settings.max_new_tokens)
             for row, q in zip(places.tolist(), questions)]  # fmt: skip
    with compute.autocast():
        chats = [messages_with(some, question) for some, question in zip(shown, questions)]
        answers = reply(model, tokenizer, chats, settings.max_new_tokens, temperature=0)
    rows = [
        {"question": q, "answer": a, "sources": [p.source for p in some], "score": round(float(score[0]), 4)}
        for q, a, some, score in zip(questions, answers, shown, scores)
    ]
    _tell(settings, rows, shown)
    return 0


def _questions(settings: AnswerSettings) -> list[str]:
    if (settings.data is None) == (not settings.question.strip()):
        raise ValueError("answer needs --question, or --data with many, and not both")
    if settings.data is None:
        return [settings.question]
    make = lambda line, record: text_field(settings.data, line, record, "question")  # noqa: E731
    return read_each(settings.data, [("question",)], make)


def finder_of(settings: AnswerSettings, documents: list[str], compute: Compute) -> Finder:
    """What finds passages. Raises: ValueError for a run that turns no texts into vectors."""
    if settings.finder is None:
        return WordFinder(documents)
    run = source(settings.finder)
    model = load_model(run, compute.device)
    if type(model) is Encoder:
        model = TextEncoder(model).to(compute.device).eval()
    if not isinstance(model, TextEncoder):
        raise ValueError(
            f"--finder {run.path} holds {model_kind(model)}: name a run of encode, or an encoder of others"
        )
    told = 0 if is_foreign(run.path) else run.config()["settings"].check(context=int).get("context") or 0
    name = run.fingerprint() if not is_foreign(run.path) else str(run.path.resolve())
    return EncoderFinder(model, load_tokenizer(run), told, compute, name)


def index_of(settings: AnswerSettings, passages: list[Passage], finder: Finder) -> Index:
    """The index of the passages: read from --index, or made, and kept there.

    Raises: ValueError for a folder that holds the index of other documents, or of another finder.
    """
    if settings.index is None:
        return Index.of(passages, finder)
    if settings.index.exists() and (settings.index.is_file() or any(settings.index.iterdir())):
        index = Index.load(settings.index)
        if index.fingerprint() != passages_fingerprint(passages, finder.name):
            raise ValueError(f"--index {settings.index} is of other documents, or of another finder: name a new folder")
        return index
    index = Index.of(passages, finder)
    index.save(settings.index)
    return index


def fitting(passages: list[Passage], question: str, tokenizer: Tokenizer, longest: int) -> list[Passage]:
    """The first of the passages that fit with the question into so many tokens; ValueError when not even one does."""
    for count in range(len(passages), 0, -1):
        if len(tokenizer.apply_chat(messages_with(passages[:count], question), True)[0]) < longest:
            return passages[:count]
    raise ValueError(f"the question {question[:60]!r} is too long to be shown a passage: shorten it")


def _tell(settings: AnswerSettings, rows: list[dict], shown: list[list[Passage]]) -> None:
    if settings.out is not None:
        write_text(settings.out, "".join(to_json(row) + "\n" for row in rows))
        print(f"{len(rows)} answers in {settings.out}")
    elif settings.data is not None:
        sys.stdout.write("".join(to_json(row) + "\n" for row in rows))
    else:
        print(rows[0]["answer"])
        for passage in shown[0]:
            print(f"source: {passage.source}: {' '.join(passage.text.split())[:100]}")
