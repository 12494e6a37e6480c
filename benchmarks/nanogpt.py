"""nanoGPT as a peer: its model, and its training script run as it is, from a checkout that the user has.

Nothing is written into the checkout.
"""

import os
import pickle
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
from torch import nn

SCRIPTS = ("train.py", "model.py", "configurator.py")


def nanogpt_model(peer: Path, vocab: int, context: int, layers: int, width: int, heads: int) -> nn.Module:
    """An untrained nanoGPT of this shape, biases and all, as GPT-2 has them."""
    sys.path.insert(0, str(peer))
    from model import GPT, GPTConfig

    shape = {"n_layer": layers, "n_head": heads, "n_embd": width}
    return GPT(GPTConfig(block_size=context, vocab_size=vocab, dropout=0.0, bias=True, **shape))


def train_nanogpt(peer: Path, folder: Path, train: np.ndarray, valid: np.ndarray, flags: dict) -> dict:
    """Run nanoGPT's train.py on these tokens, in `folder`, with these flags. Returns the names that it leaves."""
    for name in SCRIPTS:
        shutil.copy(peer / name, folder)
    data = folder / "data" / "text"
    data.mkdir(parents=True)
    train.astype(np.uint16).tofile(data / "train.bin")
    valid.astype(np.uint16).tofile(data / "val.bin")
    # It learns the size of the vocabulary from this file, or takes GPT-2's.
    (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": int(max(train.max(), valid.max())) + 1}))
    sys.path.insert(0, str(folder))
    sys.argv = ["train.py", "--dataset=text", *(f"--{name}={value}" for name, value in flags.items())]
    here = Path.cwd()
    os.chdir(folder)  # it looks for its parts and its data from there
    try:
        return runpy.run_path(str(folder / "train.py"), run_name="__main__")
    finally:
        os.chdir(here)
