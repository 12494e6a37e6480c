"""`train.py export`: a run as other programs read it, Hugging Face's folder or a GGUF file, with its tokenizer."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from minillm import hub
from minillm.cli.flags import flag
from minillm.cli.methods import fold_adapters
from minillm.cli.opening import check_folder
from minillm.peft import adapter_names, adapters
from minillm.system import load_file
from minillm.text import Tokenizer
from minillm.training import RunFolder

FORMATS = ("hf", "gguf")


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Runs."""

    from_: Path | None = flag(None, "the run to write, or a model that others made")
    to: str = flag("hf", "the format: a folder for transformers, and peft; or GGUF", choices=FORMATS)
    out: Path | None = flag(None, "a new folder")
    gguf_type: str = flag("F16", "of gguf: how matrices are stored", choices=tuple(hub.WRITTEN))
    merge: bool = flag(False, "of a run that trained an adapter: the whole model, with the adapter in its weights")


def run_export(settings: ExportSettings, given: dict) -> int:
    """Write a run for other programs: transformers, peft, sentence-transformers, llama.cpp. Its tokenizer goes with it.

    python train.py pretrain --recipe llama --out runs/llama
    python train.py export --from runs/llama --out runs/llama-hf         AutoModelForCausalLM.from_pretrained reads it
    python train.py export --from runs/adapter --out runs/adapter-peft   a LoRA alone, for PeftModel.from_pretrained
    python train.py export --from runs/adapter --merge --to gguf --out runs/adapter-gguf

    Others know the parts of llama, gpt2 and bert; a model of the recipe minillm, which is our own, nobody else can run.
    """
    if settings.from_ is None or settings.out is None:
        raise ValueError("export needs --from, the folder of a run, and --out, a new folder")
    run = hub.source(settings.from_)
    adapter = bool(run.config().get("base"))
    if settings.merge and not adapter:
        raise ValueError(f"--merge has no use here: {run.path} holds no adapter; leave it out")
    if "gguf_type" in given and settings.to != "gguf":
        raise ValueError("--gguf-type has no use here: it goes with --to gguf; leave it out")
    if adapter and settings.to == "gguf" and not settings.merge:
        raise ValueError(f"{run.path} holds an adapter, and a GGUF file holds a whole model: add --merge")
    with new_folder(settings.out) as folder:
        model, tokenizer = hub.load(run.path)
        if adapter and not settings.merge:
            check_alone(run, model)
            hub.save_peft_lora(model, folder)
        else:
            labels = hub.load_labels(run.path) if hasattr(model, "outputs") else []
            write(fold_adapters(model), tokenizer, folder, settings, labels)
        if settings.to == "hf":
            hub.write_tokenizer(tokenizer, folder)
    print(f"{settings.out} holds {'the adapter' if adapter and not settings.merge else 'the model'} of {run.path}")
    return 0


@contextlib.contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into, which becomes `out` when all is written, and nothing if something went wrong.

    Raises: ValueError for a folder that holds something already.
    """
    check_folder(out)
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"--out {out}: there is something in this folder already; name a new one")
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield folder
        folder.chmod(0o755)
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def check_alone(run: RunFolder, model: nn.Module) -> None:
    """Raises: ValueError for an adapter with which parts of the model learned: peft's file would be without them."""
    if len(adapter_names(model)) > 1:
        raise ValueError(f"{run.path} stands on another adapter: add --merge, or merge that one first")
    own = {f"{path}.{name}" for path, adapter in adapters(model) for name in adapter.own()}
    if "trunk" in run.config()["model"] or load_file(run.best_file())[0].keys() - own:
        raise ValueError(f"{run.path}: what learned beside the adapter has no place in peft's file: add --merge")


def write(model: nn.Module, tokenizer: Tokenizer, folder: Path, settings: ExportSettings, labels: list[str]) -> None:
    """Write a whole model. Raises: ValueError for one that has no place in that format."""
    if settings.to == "hf":
        hub.save_foreign(model, folder, labels)
    else:
        hub.save_gguf(model, folder / "model.gguf", hub.tokenizer_fields(tokenizer), settings.gguf_type)
