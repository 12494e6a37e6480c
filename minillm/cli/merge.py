"""`train.py merge`: a run that trained an adapter becomes one with plain weights, which needs its base no more."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from minillm.cli.flags import flag
from minillm.cli.methods import fold_adapters
from minillm.cli.opening import new_run
from minillm.hub import load_model, load_tokenizer, source
from minillm.system import write_json
from minillm.training import describe


@dataclass(frozen=True, kw_only=True)
class MergeSettings:
    """Runs."""

    from_: Path | None = flag(None, "the run whose adapter is to be folded into the weights")
    out: Path | None = flag(None, "folder of the new run (default: runs/merge, numbered when taken)")


def run_merge(settings: MergeSettings, given: dict) -> int:
    """Fold an adapter into the weights of its base: a run like any other, that stands alone and is as fast as the base.

    python train.py sft --from runs/pretrain --method lora --out runs/stories
    python train.py merge --from runs/stories --out runs/stories-whole

    Changes of weights can be merged: lora, adalora, ia3, and bitfit where there are biases. Prompts, prefixes and
    branches beside them cannot.
    """
    if settings.from_ is None:
        raise ValueError("merge needs --from, the folder of a run that trained an adapter")
    origin = source(settings.from_)
    config = origin.config()
    if not config.get("base"):
        raise ValueError(f"{origin.path} holds no adapter: its weights are whole already")
    tokenizer = load_tokenizer(origin)
    model = fold_adapters(load_model(origin.path))
    metrics = origin.metrics() if origin.finished else None
    with new_run(settings.out, "merge") as run:
        tokenizer.save(run.path / "tokenizer.json")
        run.save_model(model)
        for name in ("predictions.jsonl", "samples.txt", "loss.png", "confusion.png"):
            if (origin.path / name).exists():
                shutil.copyfile(origin.path / name, run.path / name)
        if metrics is not None:
            metrics.pop("adapter_bytes", None)
            write_json(run.path / "metrics.json", {**metrics, "parameters": sum(p.numel() for p in model.parameters())})
        run.save_config(**{**config, "model": describe(model), "base": None})  # last: until then there is no run here
    print(f"{run.path} holds the whole model; it no longer needs {origin.path}")
    return 0
