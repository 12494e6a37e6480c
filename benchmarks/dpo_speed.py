"""Seconds and memory of a step of DPO: ours, and trl's DPOTrainer on transformers' Llama, in turn.

    python benchmarks/dpo_speed.py

2 layers of 128, a vocabulary of 1,536: the default run's shape. Batches of 8 pairs of the tales' letters, the same in
the same order, in the tokens of a run (`--run-folder`), but for the weights, which are new; fp32, one thread, fused
AdamW, clipping at 1, loops that log and save nothing. "Llama's parts" compute exactly what transformers does, which is
asserted first; "our recipe" is another model of the same layers and width.

A step is all that passes from one to the next: reading a batch, forward, backward, update. What the reference says of
a batch beforehand, once in a run, is counted apart. Seconds are processor seconds of the one thread, which are those of
the clock where nothing else runs; with --gpu, those of the clock on a GPU. Left out: reading the texts, starting the
loop.
"""

import copy
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from side_by_side import TINY, flags, main, median, peak_bytes, take_turns
from torch import nn

from minillm.align import direct_preference, loss_named, pair_of_answers, with_reference
from minillm.data import Padded, read_preferences
from minillm.hub import save_pretrained
from minillm.models import Decoder, ModelConfig
from minillm.system import pick_device
from minillm.tales import data_file
from minillm.text import Tokenizer
from minillm.training import TrainConfig, build_optimizer, fit

LAYERS, WIDTH, HEADS, CONTEXT, BATCH = 2, 128, 2, 256, 8
BETA, RATE = 0.1, 1e-4
WARMUP, COUNTED = (1, 2) if TINY else (2, 12)  # steps
GPU = "--gpu" in sys.argv and torch.cuda.is_available()
FP32 = {"device": "cuda" if GPU else "cpu", "dtype": "fp32"}
PEERS = {
    "trl, its defaults in fp32": {"gradient_checkpointing": True},
    "trl, reference beside it": {},
    "trl, reference beforehand": {"precompute_ref_log_probs": True},
}
OURS = {"ours, Llama's parts": "llama", "ours, our recipe": "minillm"}


def now() -> float:
    """Processor seconds of the one thread; on a GPU, which is waited for, those of the clock."""
    return pick_device(**FP32).synchronise() if GPU else time.process_time()


def examples_of(args) -> tuple[list, Tokenizer]:
    """As many pairs as the steps need, and the tokenizer."""
    tokenizer = Tokenizer.load(args.run_folder / "tokenizer.json")
    records = read_preferences(args.data or data_file("preferences_train.jsonl"))[: BATCH * (WARMUP + COUNTED)]
    return [pair_of_answers(*record.pair, tokenizer, CONTEXT) for record in records], tokenizer


def new_model(recipe: str, tokenizer: Tokenizer, seed: int = 0) -> Decoder:
    """Weights drawn anew."""
    torch.manual_seed(seed)
    return Decoder(ModelConfig(tokenizer.vocab_size, CONTEXT, LAYERS, WIDTH, HEADS, recipe=recipe))


def tune_ours(recipe: str, examples: list, tokenizer: Tokenizer, model: Decoder) -> tuple[dict, nn.Module]:
    """Steps of `fit`: when each began, when its gradients were there, and the seconds of the reference."""
    compute, begun, computing, computed = pick_device(**FP32), [], [], []
    start = now()
    kept = with_reference(model, examples, tokenizer, compute, BATCH * 2)
    asked = now() - start
    objective = direct_preference(loss_named("dpo", BETA))
    steps = len(examples) // BATCH
    optimizer = build_optimizer(model, "adamw", RATE)
    optimizer.register_step_pre_hook(lambda *_: computed.append(now()))

    def batches() -> Iterator[dict]:
        source = Padded(kept, tokenizer.pad_id, BATCH, causal=True).forever()
        while True:
            begun.append(now())
            yield next(source)

    def timed(model: nn.Module, batch: dict):
        computing.append(now())
        return objective(model, batch)

    config = TrainConfig(steps=steps, eval_every=steps, optimizer="adamw", learning_rate=RATE, **FP32)
    fit(model, timed, batches(), config, optimizer=optimizer, progress=False)
    begun.append(now())
    compute = [b - a for a, b in zip(computing, computed)]
    return {"begun": begun, "compute": compute, "reference": asked}, model


def as_words(examples: list, tokenizer: Tokenizer):
    """The same examples for trl, which reads texts alone: each token a word, and a tokenizer that knows these words."""
    from datasets import Dataset
    from tokenizers import Tokenizer as Fast
    from tokenizers import models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    def text(ids: list[int]) -> str:
        return "".join(f" <{i}>" for i in ids)

    rows = []
    for better, worse in examples:
        n = sum(label == -100 for label in better["labels"])
        answers = {name: text(one["input_ids"][n:]) for name, one in (("chosen", better), ("rejected", worse))}
        rows.append({"prompt": text(better["input_ids"][:n]), **answers})
    fast = Fast(models.WordLevel({f"<{i}>": i for i in range(tokenizer.vocab_size)}, unk_token="<0>"))
    fast.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"eos_token": f"<{tokenizer.eos_id}>", "pad_token": f"<{tokenizer.pad_id}>"}
    return Dataset.from_list(rows), PreTrainedTokenizerFast(tokenizer_object=fast, **special)


def trl_trainer(examples: list, tokenizer: Tokenizer, model: Decoder, folder: str, reference=None, **more):
    """trl's trainer for the same weights, examples and settings, which notes when its steps begin and end."""
    from transformers import AutoModelForCausalLM, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Timed(DPOTrainer):
        begun, compute, reference = [], [], 0.0

        def training_step(self, *args, **kwargs):
            start = now()
            loss = super().training_step(*args, **kwargs)
            self.compute.append(now() - start)
            return loss

        def _precompute_ref_logps(self, *args):
            start = now()
            dataset = super()._precompute_ref_logps(*args)
            self.reference = now() - start
            return dataset

    class Clock(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            Timed.begun.append(now())

        def on_train_end(self, *args, **kwargs):
            Timed.begun.append(now())

    def theirs(model: Decoder, name: str):
        save_pretrained(model, Path(folder) / name)
        return AutoModelForCausalLM.from_pretrained(Path(folder) / name)

    quiet = {"logging_strategy": "no", "save_strategy": "no", "report_to": "none", "disable_tqdm": True}
    rates = {"learning_rate": RATE, "optim": "adamw_torch_fused", "adam_beta2": 0.95, "weight_decay": 0.0}
    plain = {"gradient_checkpointing": False, "bf16": False, "use_cpu": not GPU, "dataloader_pin_memory": False}
    sizes = {"per_device_train_batch_size": BATCH, "max_length": CONTEXT, "max_steps": len(examples) // BATCH}
    settings = {**quiet, **rates, **plain, **sizes, "train_sampling_strategy": "sequential", "beta": BETA, **more}
    dataset, words = as_words(examples, tokenizer)
    return Timed(
        theirs(model, "policy"),
        theirs(reference, "reference") if reference else None,
        args=DPOConfig(str(Path(folder) / "out"), **settings),
        train_dataset=dataset,
        processing_class=words,
        callbacks=[Clock()],
    )


def agree(args) -> dict:
    """Both say the same of a batch: ln 2 where policy and reference are one, and what it is where they are not."""
    found = {}
    examples, tokenizer = examples_of(args)
    examples, compute = examples[:BATCH], pick_device(**FP32)
    policy, other = new_model("llama", tokenizer), new_model("llama", tokenizer, seed=1)
    objective = direct_preference(loss_named("dpo", BETA))
    for reference in (copy.deepcopy(policy), other):
        kept = with_reference(reference, examples, tokenizer, compute)
        batch = next(iter(Padded(kept, tokenizer.pad_id, BATCH, causal=True)))
        total, pairs = objective(policy, batch)
        with tempfile.TemporaryDirectory() as folder:
            trainer = trl_trainer(examples, tokenizer, policy, folder, reference)
            inputs = next(iter(trainer.get_train_dataloader()))
            assert inputs["input_ids"].shape == batch["input_ids"].shape
            loss = trainer.compute_loss(trainer.model, inputs).item()
        mine = total.item() / pairs
        found["another" if reference is other else "the same"] = [mine, loss]
        assert abs(mine - loss) < 1e-5 and (reference is other or abs(mine - math.log(2)) < 1e-6)
    return found


def measure(name: str, args) -> dict:
    """One run: seconds of the median step, of its forward and backward, and of the reference; memory."""
    torch.set_num_threads(1)
    if name == "agree":
        return agree(args)
    if name in PEERS:
        import trl  # noqa: F401  its import is no part of the memory
        from trl import DPOTrainer  # noqa: F401
    examples, tokenizer = examples_of(args)
    before = peak_bytes()
    if name in OURS:
        seen, model = tune_ours(OURS[name], examples, tokenizer, new_model(OURS[name], tokenizer))
    else:
        with tempfile.TemporaryDirectory() as folder:
            trainer = trl_trainer(examples, tokenizer, new_model("llama", tokenizer), folder, **PEERS[name])
            trainer.train()
        seen = {"begun": trainer.begun, "compute": trainer.compute, "reference": trainer.reference}
        model = trainer.model
    seconds = [b - a for a, b in zip(seen["begun"], seen["begun"][1:])]
    assert len(seconds) == len(seen["compute"]) == WARMUP + COUNTED
    return {
        "seconds": statistics.median(seconds[WARMUP:]),
        "compute": statistics.median(seen["compute"][WARMUP:]),
        "reference": seen["reference"] / len(seconds),
        "memory": peak_bytes() - before,
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def show(runs: dict[str, list[dict]], args) -> dict:
    """A line each, and how many times as fast ours is."""
    found = {}
    for name, own in runs.items():
        row = {key: median(own, key) for key in own[0]}
        found[name] = row
        times = ""
        for peer in PEERS if name in OURS else ():
            row[peer] = statistics.median(b["seconds"] / a["seconds"] for a, b in zip(own, runs[peer]))
            times += f"; {row[peer]:.2f} times as fast as {peer}"
        print(
            f"{name:26s} {1000 * row['seconds']:5.0f} ms a step, {1000 * row['compute']:5.0f} of them forward and "
            f"backward; reference {1000 * row['reference']:4.0f}; {row['memory'] / 1e6:4.0f} MB, "
            f"{row['parameters']:,} parameters{times}"
        )
    return {"figures": found}


if __name__ == "__main__":
    parser = flags(__doc__, repeats=3)
    parser.add_argument("--run-folder", type=Path, default=Path("runs/sft"), help="whose tokenizer (%(default)s)")
    parser.add_argument("--data", type=Path, help="pairs (default: those of the tales)")
    parser.add_argument("--gpu", action="store_true", help="on a GPU, where there is one")
    given = parser.parse_args()
    if not given.run:  # in a process of its own, for what a process has held its children seem to hold as well
        for reference, (mine, loss) in take_turns(["agree"], 1)["agree"][0].items():
            print(f"the loss of a batch, the reference {reference}: {mine:.7f}, and trl's {loss:.7f}")
    main(given, [*PEERS, *OURS], measure, show)
