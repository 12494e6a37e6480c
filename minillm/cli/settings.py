"""The groups of settings that commands share."""

from dataclasses import dataclass
from pathlib import Path

from minillm.cli.flags import auto, flag
from minillm.text import TEMPLATE_NAMES
from minillm.training import OPTIMIZERS

RECOMPUTE = "compute activations again when they are needed: less memory, a third more time"
COMPILE = "torch.compile model and loss together; pays on a GPU, after a minute; where it fails, says why and goes on"
MOST_LAYERS = 1000  # that anybody has trained (Wang et al. 2022, "DeepNet")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Machine."""

    device: str = flag("auto", "auto, cpu, cuda or mps; auto takes a GPU when there is one")
    dtype: str = flag("auto", "auto, fp32, bf16 or fp16; auto takes the fastest that the device computes well")
    seed: int = flag(0, "of every random choice; one seed on one machine gives the same numbers")


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """Chat template."""

    template: str | None = flag(
        None, "how a conversation is written for a model that others made; known for most", choices=TEMPLATE_NAMES
    )


@dataclass(frozen=True, kw_only=True)
class RunChoice:
    """Run."""

    out: Path | None = flag(None, "folder of the run (default: runs/COMMAND, numbered when taken)")
    resume: bool = flag(False, "go on with a run that was stopped: the one in --out, or the newest")
    show: bool = flag(False, "print one example as the model gets it, token by token, and stop")


@dataclass(frozen=True, kw_only=True)
class TextSource:
    """Data."""

    data: Path | None = flag(
        None, 'your text: .txt, blank lines between documents, or .jsonl with {"text"}; without it, the tales'
    )
    valid: Path | None = flag(None, "text to measure on; without it a share of --data is kept aside")
    documents: str = flag(
        "blank-line", "what separates the documents of a .txt file; file: nothing does", choices=("blank-line", "file")
    )
    valid_fraction: float = flag(0.1, "share of --data that is kept aside, by document")
    tokenizer: str = flag("bpe", "bpe or characters, trained on the text; gpt2; or the path of a tokenizer.json")
    vocab_size: int = flag(1536, "tokens of a bpe tokenizer, special ones included")


@dataclass(frozen=True, kw_only=True)
class RecordSource:
    """Data."""

    data: Path | None = flag(
        None, "examples to learn from; bad ones are left out and said, if most are good; without it, those of the tales"
    )
    valid: Path | None = flag(None, "examples to watch while learning; without it a share of --data is kept aside")
    test: Path | None = flag(None, "examples to score at the end; without it, those of --valid")
    valid_fraction: float = flag(0.1, "share of --data that is kept aside")
    examples: int = flag(0, "learn from so many examples only, the first of a random order (0: all)")


@dataclass(frozen=True, kw_only=True)
class Training:
    """Training."""

    batch_size: int = flag(32, "examples in a micro-batch")
    accumulate: int = flag(1, "micro-batches in a step, of all processes together")
    max_steps: int | None = auto("steps of training; the schedule spans them")
    learning_rate: float = flag(2e-3, "peak rate of AdamW: embeddings and the output layer")
    matrix_learning_rate: float = flag(0.02, "peak rate of Muon: the trunk's matrices")
    weight_decay: float = flag(0.0, "weight decay of every matrix")
    clip: float = flag(1.0, "largest norm of a gradient (0: no limit)")
    eval_every: int | None = auto("steps between evaluations; auto: a tenth of the run")
    patience: int = flag(0, "evaluations without a better one before stopping (0: never)")
    recompute: bool = flag(False, RECOMPUTE)
    compile: bool = flag(False, COMPILE)
    shard: bool = flag(False, "each process of torchrun holds a part of the model: for one that does not fit (FSDP)")


@dataclass(frozen=True, kw_only=True)
class PreTraining(Training):
    """Training."""

    matrix_learning_rate: float = flag(OPTIMIZERS["muon"].matrix_learning_rate, "peak rate of Muon")
    warmup: int = flag(0, "steps over which the rates rise")
    decay_share: float = flag(0.8, "part of the run over which a linear decay falls to 0")
