"""Tests of several processes on one machine: `several(world, folder)` starts this file, and returns what each found."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from minillm.data import Windows, tokenize  # noqa: E402
from minillm.models import Decoder, ModelConfig  # noqa: E402
from minillm.system import ALONE, Alone, started  # noqa: E402
from minillm.system.buckets import Buckets  # noqa: E402
from minillm.text import Tokenizer  # noqa: E402
from minillm.training import RunFolder, Sharded, TrainConfig, causal_lm, fit, mean_loss  # noqa: E402

TEXTS = ["abcab", "ba", "cabbacabbacabba", "a", "bcbc"] * 30
ABC = Tokenizer.characters("abcd")
STEPS, ACCUMULATE = 12, 6
Stopped = type("Stopped", (Exception,), {})


def several(world: int, folder: Path) -> list[dict]:
    """What each of `world` processes finds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    processes = []
    for rank in range(world):
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        environment = os.environ | place | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, __file__, str(folder)]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True))
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), said
    return [json.loads(one.splitlines()[-1]) for one in said]


def learn(together: Alone = ALONE, run=None, resume=False, loss=causal_lm, after=None, dropout=0.0, **more):
    """A small run: its model and its history."""
    torch.manual_seed(0)
    model = Decoder(ModelConfig(ABC.vocab_size, 16, 2, 32, 2, dropout=dropout))
    settings = {"steps": STEPS, "accumulate": ACCUMULATE, "eval_every": 4, "device": "cpu", "dtype": "fp32"} | more
    batches = Windows(tokenize(TEXTS, ABC), 16, 2, seed=1)  # ragged: documents of 2 to 17 tokens

    def evaluate(model) -> float:
        return mean_loss(model, causal_lm, list(batches)[:5], together=together)

    config, more = TrainConfig(**settings), {"run": run, "resume": resume, "after_step": after, "together": together}
    return model, fit(model, loss, batches, config, evaluate, progress=False, **more)


def losses(history) -> list[float]:
    """Of every step, and of every evaluation."""
    return history.series("loss")[1] + history.series("val_loss")[1]


def interrupted(together: Alone) -> int:
    """How many steps are done when one process gets a Ctrl-C in its third."""

    def after(model, step: int) -> None:
        if step == 3 and together.rank == 1:
            os.kill(os.getpid(), signal.SIGINT)

    return learn(together, after=after)[1].step


def not_a_number(together: Alone) -> str:
    """What is said where one process has a loss that is none."""
    calls = []

    def loss(model, batch):
        calls.append(1)
        total, terms = causal_lm(model, batch)
        return total * (float("nan") if together.rank == 1 and len(calls) == 8 else 1.0), terms

    try:
        learn(together, loss=loss)
    except FloatingPointError as error:
        return str(error)
    return ""


def resumed(together: Alone, folder: Path) -> bool:
    """Whether a run with dropout that fell over goes on to the same bits."""

    def fall(model, step: int) -> None:
        if step == 7:
            raise Stopped

    _, whole = learn(together, run=RunFolder(folder / "whole"), dropout=0.2)
    try:
        learn(together, run=RunFolder(folder / "fallen"), dropout=0.2, after=fall)
    except Stopped:
        together.wait()
    _, rest = learn(together, run=RunFolder(folder / "fallen"), dropout=0.2, resume=True)
    return losses(whole) == losses(rest)


def unused(together: Alone) -> list:
    """The gradients of parameters that both, one and none of two processes use."""
    both, one, none = (nn.Parameter(torch.ones(2)) for _ in range(3))
    buckets = Buckets([both, one, none])
    buckets.open()
    loss = (both * (together.rank + 1)).sum() + (one.sum() if together.rank == 1 else 0)
    loss.backward()
    flag = buckets.close(together.rank == 1)
    return [flag, *(None if p.grad is None else p.grad.tolist() for p in (both, one, none))]


def local(tensor) -> int:
    """Bytes that this process holds of a tensor."""
    return getattr(tensor, "to_local", lambda: tensor)().untyped_storage().nbytes()


def held(together: Alone, optimizer: str) -> dict:
    """Bytes of weights and optimizer that a process holds of a whole model, and of one in parts; and its losses."""
    found = {}
    for name, shared in (("parts", Sharded(together)), ("whole", together)):
        size, made, begin = {}, [], shared.begin

        def watched(model, optimizer, made=made, begin=begin):
            made.append(begin(model, optimizer))
            return made[0]

        def after(model, step: int, made=made, size=size) -> None:
            states = [kept for one in made[0].optimizers for kept in one.state.values()]
            size["weights"] = sum(map(local, model.parameters()))
            size["optimizer"] = sum(local(value) for kept in states for value in kept.values() if value.dim())

        shared.begin = watched
        model, history = learn(shared, after=after, optimizer=optimizer)
        del shared.begin
        plain = all(type(p) is nn.Parameter for p in model.parameters()) and type(model.blocks[0]).__name__ == "Block"
        found[name] = {"bytes": size, "losses": losses(history), "plain": plain}
    return found


def main(folder: Path) -> None:
    """Everything, in one start."""
    torch.set_num_threads(1)
    together = started("cpu")
    rank, found = together.rank, {}
    found["share"] = together.share(lambda: {"from": rank})
    found["gather"] = together.gather([rank] * (rank + 1))
    found["each"] = together.each(lambda x: x * x, range(5))
    found["none"] = together.each(lambda x: x, [])
    found["sum"] = together.sum(torch.tensor([rank + 1.0])).tolist()
    found["unused"] = unused(together)
    _, history = learn(together)
    found["muon"] = losses(history)
    found["sent"] = together.buckets.sent
    found["held"] = {name: held(together, name) for name in ("muon", "adamw")}
    found["interrupted"] = interrupted(together)
    found["nan"] = not_a_number(together)
    found["resumed"] = resumed(together, folder)
    together.end()
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
