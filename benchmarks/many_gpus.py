"""Time of a step against the number of GPUs, from counted FLOPs and bytes; the bytes are counted in real runs, too.

    python benchmarks/many_gpus.py --json benchmarks/many_gpus.json

First a small model is trained by 2 and by 3 processes on this machine's CPU, and what the kernel says went through
their sockets is held against the formula, with whole models and with --shard. Then the time of a step of a 124M model
is computed, on GPUs that are not here: products at a share of the card's rate, bytes at the rate of the interconnect,
both at once while the last micro-batch goes backward. Left out: the time of the optimizer, of kernels that start late,
of reading data, and switches that many cards share.
"""

import argparse
import json
import os
import socket
import struct
import sys
import tempfile
from pathlib import Path

import torch
from side_by_side import ROOT
from torch import multiprocessing

from minillm.data import Windows, tokenize
from minillm.models import Decoder, ModelConfig
from minillm.system import started
from minillm.text import Tokenizer
from minillm.training import Sharded, TrainConfig, causal_lm, fit

SMALL = ModelConfig(64, 32, 2, 64, 2)
FEW, MANY, ACCUMULATE = 2, 12, 6  # steps whose difference is counted; micro-batches in a step
ACKED = struct.Struct("@120xQQ")  # of Linux's tcp_info: bytes that were sent and acknowledged, and received

LAYERS, WIDTH, CONTEXT, VOCABULARY = 12, 768, 1024, 50257  # GPT-2's smallest: 124M
ROWS, STEP = 64, 8  # windows in a micro-batch, micro-batches in a step: 524,288 tokens
RATE, SHARE = 989e12, 0.4  # bf16 FLOP/s of an H100, and what of it is assumed to be reached
INTERCONNECTS = {"NVLink": 450e9, "PCIe 4": 25e9, "10 Gb Ethernet": 1.25e9}  # bytes/s each way
GPUS = (1, 2, 4, 8)


def socket_bytes() -> int:
    """Bytes that this process has sent through all of its connections."""
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as own:
                if own.family in (socket.AF_INET, socket.AF_INET6) and own.type == socket.SOCK_STREAM:
                    total += ACKED.unpack_from(own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKED.size))[0]
        except OSError:  # no socket, or closed by now
            continue
    return total


def count(rank: int, world: int, port: int, shard: bool, folder: str) -> None:
    """Train, and write down what each step of this process sent."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(world), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    together = started("cpu")
    text = "the cat sat on the mat and looked at the dog that sat by the door. " * 40
    tokenizer = Tokenizer.characters([text])
    sent = {}
    for steps in (FEW, MANY):
        torch.manual_seed(0)
        model = Decoder(SMALL)
        before = socket_bytes()
        config = TrainConfig(steps=steps, accumulate=ACCUMULATE, optimizer="adamw", device="cpu", dtype="fp32")
        shared = Sharded(together) if shard else together
        batches = Windows(tokenize([text], tokenizer), SMALL.context, 4, seed=1)
        fit(model, causal_lm, batches, config, progress=False, together=shared)
        sent[steps] = socket_bytes() - before
    parameters = sum(p.numel() for p in model.parameters())
    each = (sent[MANY] - sent[FEW]) / (MANY - FEW)
    Path(folder, f"{rank}.json").write_text(json.dumps({"sent": each, "gradients": 4 * parameters}))
    together.end()


def counted(world: int, shard: bool) -> dict:
    """Bytes that a process sends in a step, on average, beside what the formula says."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(count, (world, port, shard, folder), nprocs=world)
        rows = [json.loads(Path(folder, f"{rank}.json").read_text()) for rank in range(world)]
    gradients = rows[0]["gradients"]
    sent = sum(row["sent"] for row in rows) / world
    said = bytes_sent(world, gradients, ACCUMULATE // world, shard)
    return {"processes": world, "shard": shard, "gradients": gradients, "sent": sent, "computed": said}


def bytes_sent(world: int, gradients: float, micro_batches: int, shard: bool) -> float:
    """Bytes that a process sends in a step, with `gradients` bytes of weights, and of gradients.

    A ring passes each of `world` parts on world - 1 times, once to sum it up and once to spread the sum; with shards
    weights are gathered for each micro-batch, forward and backward, and gradients are summed up once.
    """
    part = gradients * (world - 1) / world
    return (2 * micro_batches + 1) * part if shard else 2 * part


def step_time(world: int, rate: float, shard: bool) -> float:
    """Seconds of a step of the 124M model."""
    weights = 12 * LAYERS * WIDTH**2 + VOCABULARY * WIDTH
    flops = ROWS * CONTEXT * (6 * weights + 12 * LAYERS * WIDTH * CONTEXT)  # of a micro-batch: Chowdhery et al. 2022, B
    micro_batches = STEP // world
    compute = flops / (RATE * SHARE)
    moved = bytes_sent(world, 4 * weights, micro_batches, shard) / rate
    if shard:  # each micro-batch waits for its own weights, if they come slower than they are used
        return micro_batches * max(compute, moved / micro_batches)
    return micro_batches * compute + max(moved - 2 / 3 * compute, 0)  # behind the backward pass of the last one


def main() -> None:
    """Count, compute, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures to FILE")
    args = parser.parse_args()
    found = {"counted": [counted(world, shard) for shard in (False, True) for world in (2, 3)], "computed": []}
    print("| processes, CPU | gradients, bytes | sent by each in a step | computed | in gradients |")
    print("|---|---|---|---|---|")
    for row in found["counted"]:
        name = f"{row['processes']}{', --shard' if row['shard'] else ''}"
        numbers = [f"{row[key]:,.0f}" for key in ("gradients", "sent", "computed")]
        print(f"| {name} | {' | '.join(numbers)} | {row['sent'] / row['gradients']:.2f} |")
    print(f"\n| ms of a step, computed | {' | '.join(f'{n} GPUs' for n in GPUS)} |\n|{'---|' * (len(GPUS) + 1)}")
    for shard in (False, True):
        for name, rate in INTERCONNECTS.items():
            times = [1000 * step_time(world, rate, shard and world > 1) for world in GPUS]
            found["computed"].append({"interconnect": name, "shard": shard, "ms": dict(zip(GPUS, times))})
            print(f"| {name}{', --shard' if shard else ''} | {' | '.join(f'{t:,.0f}' for t in times)} |")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
