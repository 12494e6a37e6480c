"""`train.py sft`: a model that continues texts learns to answer (Ouyang et al. 2022, "InstructGPT", section 3.5)."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from minillm.align import true_scores
from minillm.cli.finetune import SHORTEST, Task, TuningSettings, TuningTraining
from minillm.cli.flags import auto, change, flag, group
from minillm.cli.opening import as_saved
from minillm.cli.rehearsal import RehearsalSettings, Rehearses, with_shares
from minillm.cli.settings import ChatTemplate
from minillm.data import (
    IGNORE_INDEX,
    ConversationRecord,
    Padded,
    Parts,
    conversation_example,
    pack,
    read_conversations,
)
from minillm.hub import load_causal, load_tokenizer, source
from minillm.inference import Question, ask, ask_base, questions_of, summary
from minillm.metrics import rouge_reads
from minillm.models import LSTMLM
from minillm.report import short
from minillm.system import write_text
from minillm.tales import data_file
from minillm.text import Tokenizer
from minillm.training import causal_lm, causal_objective, knows_template, named_or_latest

SHOWN = 12  # answers in samples.txt
ASKED = 1000  # questions at most that a model is scored on
PACKED = 1024  # tokens of a row at most, unless one conversation is longer
TALES_EPOCHS = {"instructions": 1.7, "letters": 1.6}  # passes over the tales' own conversations
OTHER_EPOCHS = 4.0  # passes over the conversations that somebody brings, which are fewer


@dataclass(frozen=True, kw_only=True)
class SFTTraining(TuningTraining):
    """Training."""

    epochs: float | None = auto(
        f"passes over the data; {SHORTEST} steps at least; auto: {OTHER_EPOCHS:g}; of the tales' own "
        f"{TALES_EPOCHS['instructions']}, of letters {TALES_EPOCHS['letters']}"
    )
    batch_size: int = flag(4, "conversations in a step; with --pack, rows of them")
    learning_rate: float = flag(5e-3, "peak rate of AdamW: embeddings and the output layer")
    matrix_learning_rate: float = flag(0.01, "peak rate of Muon: the trunk's matrices")


@dataclass(frozen=True, kw_only=True)
class SFTSettings(TuningSettings):
    """Task."""

    from_: Path | None = flag(None, "the run to begin with (default: the newest of pretrain; for letters, of sft)")
    task: str = flag(
        "instructions", "what of the tales, without --data; letters: on a run of sft", choices=tuple(TALES_EPOCHS)
    )
    learn: str = flag(
        "answers", "what the loss counts: the answers, or the questions too", choices=("answers", "everything")
    )
    pack: bool = flag(False, "put several short conversations into a row, each out of the others' sight")
    training: SFTTraining = group(SFTTraining)
    rehearsal: RehearsalSettings = group(RehearsalSettings)
    chat: ChatTemplate = group(ChatTemplate)

    @property
    def letters(self) -> bool:
        """Whether letters are learned."""
        return self.task == "letters" and self.records.data is None


class SFT(Rehearses, Task):
    """Teach a pre-trained model to answer: instruction tuning, on conversations. Only the answers are learned.

    python train.py sft                                  questions about the tales, in the newest run of pretrain
    python train.py sft --from runs/pretrain --data my.json
    python train.py sft --task letters                   then letters about tales, good and bad, into runs/letters
    python train.py sft --show                           one conversation, token by token: what is learned of it
    python train.py chat --from runs/sft                 ask it

    A record of --data is {"instruction", "input", "output"}, {"prompt", "completion"}, {"messages": [...]} or
    {"conversations": [...]}, in .json, .jsonl, .csv or .tsv.
    """

    name = "sft"
    objective = staticmethod(causal_lm)
    unit = "answer tokens"
    headline = ("exact_match", "rouge_l")

    @classmethod
    def complete(cls, settings: SFTSettings, given: dict) -> SFTSettings:
        source = named_or_latest(settings.from_, "sft" if settings.letters else "pretrain")
        usual = TALES_EPOCHS[settings.task] if settings.records.data is None else OTHER_EPOCHS
        settings = change(settings, from_=source.path, epochs=settings.training.epochs or usual)
        return with_shares(settings, given)

    @classmethod
    def folder_name(cls, settings: SFTSettings) -> str:
        return "letters" if settings.letters else cls.name

    def load_parts(self) -> Parts:
        self.files = ("letters",) if self.settings.letters else ("instructions",)
        parts = super().load_parts()
        if self.settings.letters:  # what was learned before is still asked; learning it again is rehearsal
            parts.valid += self.read_file(data_file("instructions_valid.jsonl"))
            parts.test += self.read_file(data_file("instructions_test.jsonl"))
        elif self.settings.records.data is None:
            parts.train += self.read_file(data_file("passages_train.jsonl"))  # easier, and not for the scores
        return parts

    def read_file(self, path: Path) -> list[ConversationRecord]:
        return read_conversations(path)

    def new_model(self, texts: list[str]) -> tuple[Tokenizer, nn.Module]:
        run, method = source(self.settings.from_, self.settings.chat.template), self.settings.method.method
        tokenizer, model = load_tokenizer(run), load_causal(run, dtype=self.dtype)
        if self.settings.pack and isinstance(model, LSTMLM):
            raise ValueError("--pack needs attention, which can look away; an LSTM remembers whatever stood before")
        if self.settings.pack and method in ("prompt", "ptuning"):
            raise ValueError(f"--pack and --method {method}: a prompt stands before one text, not before several")
        self.choices, self.objective = tokenizer.vocab_size, causal_objective(model)
        self.unit = "tokens" if self.settings.learn == "everything" else self.unit
        return tokenizer, model

    def prepare(self) -> None:
        super().prepare()
        self.unit = "tokens" if self.old.share else self.unit  # of answers, and of text

    def more_config(self) -> dict:
        own = self.settings.records.data
        name = self.settings.task if own is None else as_saved(own)
        kept = self.kept._replace(conversations=(*self.kept.conversations, name))
        return {**super().more_config(), "learned": kept.as_json()}

    def example(self, record: ConversationRecord) -> dict:
        return conversation_example(record, self.tokenizer, self.settings.context, self.settings.learn)

    def in_batches(self, examples: list[dict], seed: int | None = None) -> Padded:
        """Batches of conversations, or of rows packed with them. One without an answer that fits is left out."""
        settings = self.settings
        answered = [one for one in examples if any(label != IGNORE_INDEX for label in one["labels"][1:])]
        if len(answered) < len(examples):
            print(f"{len(examples) - len(answered)} conversations have no answer within the context, and are left out")
        if not answered:
            raise ValueError("no conversation has an answer that fits into the context: bring shorter ones")
        longest = max(len(one["input_ids"]) for one in answered)
        rows = pack(answered, min(settings.context, max(longest, PACKED))) if settings.pack else answered
        return self.padded(seed)(rows, self.tokenizer.pad_id, settings.training.batch_size, seed=seed, causal=True)

    def answers(self) -> list[str]:
        questions = questions_in(self.test_records)
        print(f"asking {len(questions):,} questions")
        with self.compute.autocast():
            return ask(self.model, self.tokenizer, questions, progress=True)

    def scores(self, answers: list[str]) -> dict:
        """Exact match, ROUGE-L and BLEU, the first two by kind of question; predictions.jsonl and samples.txt."""
        questions = questions_in(self.test_records)
        rows = [
            {"messages": q.messages, "kind": q.kind, "answer": q.answer, "predicted": answer}
            for q, answer in zip(questions, answers)
        ]
        self.write_predictions(rows)
        shown = [
            f"{row['messages'][-1]['content']}\n-> {row['predicted']}\n   expected: {row['answer']}" for row in rows
        ]
        write_text(self.run.path / "samples.txt", "\n\n".join(shown[:SHOWN]) + "\n")
        scores = summary(questions, answers)
        scores |= self.old.scores(self.model, self.compute)
        letters = [(q.messages, answer) for q, answer in zip(questions, answers) if q.kind == "letter"]
        if letters:
            true = true_scores(*zip(*letters))
            scores["true_score_of_letters"] = sum(true) / len(true)
        for kind, row in scores["kinds"].items():
            overlap = "" if row["rouge_l"] is None else f", ROUGE-L {row['rouge_l']:.3f}"
            print(f"  {short(kind) or 'all':10s} right {row['right']:.3f}{overlap} of {row['n']}")
        unread = sum(not rouge_reads(q.answer) for q in questions)
        if unread:
            print(f"ROUGE-L leaves out {unread} of {len(questions)}: it reads the letters a to z and digits alone")
        return scores

    def baselines(self) -> dict[str, dict]:
        """The model before tuning; one that knows no template gets the earlier answers as examples."""
        run = source(self.settings.from_, self.settings.chat.template)
        questions = questions_in(self.parts.test)
        print("asking the model before tuning")
        asking, name = (ask, "before") if knows_template(run) else (ask_base, "before, few-shot")
        with self.compute.autocast():
            model = load_causal(run, self.compute.device, self.dtype)
            before = asking(model, load_tokenizer(run), questions, progress=True)
        return {name: summary(questions, before)}


def questions_in(records: list[ConversationRecord]) -> list[Question]:
    """The questions that a model is scored on: every answer of each conversation, up to ASKED."""
    rows = [{"messages": r.messages, "kinds": r.kinds, "references": r.references} for r in records]
    return questions_of(rows)[:ASKED]
