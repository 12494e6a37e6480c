"""`train.py doctor`: what this machine is, whether it computes rightly, how fast it is, and how long commands take."""

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minillm import __version__
from minillm.cli.cost import step_seconds
from minillm.cli.flags import flag
from minillm.cli.parts import PARTS, Check, check_part
from minillm.models import ModelConfig
from minillm.system import Compute, cpu_has_fast_bf16, duration, pick_device, to_json

PROCESSORS = Path("/proc/cpuinfo")  # of Linux
PRODUCT = {"cpu": 1024, "cuda": 8192}  # rows and columns of the product that is timed
COPIED = {"cpu": 2**25, "cuda": 2**29}  # bytes that are copied to time the memory
REPEATS, CALLS = 5, 200
VOCABULARY, CONTEXT, LAYERS, WIDTH, HEADS = 1536, 256, 2, 128, 2  # of the default model
# Of each command with its defaults, on the tales: steps, tokens in one, and logits over the vocabulary, by position
COMMANDS = {
    "pretrain": (740, 2048, 2048),
    "mlm": (2400, 1712, 247),
    "classify": (656, 1787, 0),
    "pair": (1312, 1657, 0),
    "tag": (438, 960, 0),
    "sft": (5667, 672, 205),
}


@dataclass(frozen=True, kw_only=True)
class DoctorSettings:
    """Machine."""

    device: str = flag("auto", "auto, cpu, cuda or mps")
    dtype: str = flag("auto", "auto, fp32, bf16 or fp16")
    compile: bool = flag(False, "check what torch.compile makes of each part, too; takes minutes")
    json: bool = flag(False, "print one JSON object, and nothing else")


def run_doctor(settings: DoctorSettings, given: dict) -> int:
    """Look at this machine: does it compute rightly, how fast is it, and what will each command take?

    Forward and backward pass of each part of a model are computed here, in the precision that training would take, and
    on the CPU in double precision (losses in fp32). A part that differs by more than rounding is named, and the exit
    status is 1. What it prints is what a report of an error should hold.

    python train.py doctor                        this machine, as `auto` takes it
    python train.py doctor --dtype fp32           another precision
    python train.py doctor --compile              torch.compile too
    python train.py doctor --json > report.json
    """
    compute = pick_device(settings.device, settings.dtype)
    checks = [check_part(name, compute) for name in PARTS]
    compiled = [check_part(name, compute, compiled=True) for name in PARTS] if settings.compile else []
    found = {
        "machine": machine(compute),
        "parts": [check._asdict() for check in checks],
        "compiled": [check._asdict() for check in compiled],
        "speed": speed(compute),
        "seconds": seconds_of_commands(compute),
    }
    print(to_json(found) if settings.json else "\n".join(report_lines(found, checks, compiled)))
    wrong = [check.name for check in checks if not check.good]
    wrong += [f"{check.name}, compiled" for check in compiled if not check.good]
    if wrong and not settings.json:
        print(
            f"\n{compute.name} computes wrongly: {', '.join(wrong)}. Try another --dtype or --device, and report this"
        )
    return 1 if wrong else 0


def machine(compute: Compute) -> dict[str, Any]:
    """What is here: versions, processor, device, memory, and what `auto` takes."""
    names = [line.split(":")[1].strip() for line in _lines(PROCESSORS) if line.startswith("model name")]
    found = {
        "minillm": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": platform.platform(),
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "fast bf16": cpu_has_fast_bf16(),
        "takes": compute.name,
        "auto takes": pick_device().name,
        "memory": compute.total_memory(),
        "free memory": compute.free_memory(),
    }
    if compute.device.type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(compute.device)
        found["cuda"] = torch.version.cuda
        found["capability"] = ".".join(map(str, torch.cuda.get_device_capability(compute.device)))
    pick_device(str(compute.device), "fp32")  # whose rounding of products `auto` may have changed
    return found


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def speed(compute: Compute) -> dict[str, float]:
    """Operations a second of a large product, bytes a second of a copy, seconds of a call of one small operation."""
    size, kind = PRODUCT.get(compute.device.type, 1024), compute.device.type
    a = torch.ones(size, size, device=compute.device, dtype=compute.dtype)
    source = torch.ones(COPIED.get(kind, 2**25) // 4, device=compute.device)
    target, small = torch.empty_like(source), torch.ones(16, device=compute.device)
    return {
        "product": 2 * size**3 / _fastest(compute, lambda: a @ a),
        "memory": 2 * source.numel() * 4 / _fastest(compute, lambda: target.copy_(source)),
        "call": _fastest(compute, lambda: [small + small for _ in range(CALLS)]) / CALLS,
    }


def _fastest(compute: Compute, work) -> float:
    """Seconds of some work, the fastest of several times."""
    times = []
    for _ in range(REPEATS):
        start = compute.synchronise()
        work()
        times.append(compute.synchronise() - start)
    return min(times[1:])


def seconds_of_commands(compute: Compute) -> dict[str, float]:
    """About how long each command trains here, from three steps of the default model.

    A step takes some time of itself, some for each token and some for each logit; three steps tell them apart.
    """
    config = ModelConfig(VOCABULARY, CONTEXT, LAYERS, WIDTH, HEADS)
    few, many, some = 512, 2048, 0.1  # tokens, and the share of them that has a label
    small, whole, sparse = (
        step_seconds(config, tokens // CONTEXT, compute, labels=labels)
        for tokens, labels in ((few, 1), (many, 1), (many, some))
    )
    logit = max(whole - sparse, 0) / ((1 - some) * many)
    token = max((whole - small) / (many - few) - logit, 0)
    own = max(small - few * (token + logit), 0)
    return {name: steps * (own + tokens * token + at * logit) for name, (steps, tokens, at) in COMMANDS.items()}


def report_lines(found: dict, checks: list[Check], compiled: list[Check]) -> list[str]:
    """All of it for people."""
    there, fast = found["machine"], found["speed"]
    gpu = f"; {there['gpu']}, CUDA {there['cuda']}, capability {there['capability']}" if "gpu" in there else ""
    lines = [
        f"minillm {there['minillm']}, Python {there['python']}, torch {there['torch']}, numpy {there['numpy']}",
        f"{there['system']}; {there['processor']}, {there['threads']} threads, {there['instructions']}{gpu}",
        f"computes on {there['takes']}; auto takes {there['auto takes']}; memory {there['memory'] / 1e9:,.0f} GB, "
        f"{there['free memory'] / 1e9:,.0f} free",
        f"a large product: {fast['product'] / 1e9:,.0f} GFLOP/s; memory: {fast['memory'] / 1e9:,.0f} GB/s; "
        f"a call: {1e6 * fast['call']:.1f} microseconds",
        "",
        f"each part here, beside the CPU in double precision: largest difference{', compiled' * bool(compiled)}",
    ]
    for number, check in enumerate(checks):
        both = [check, *compiled[number : number + 1]]
        marks = "".join(f"  {one.failure or f'{one.error:.1e}'}{'' if one.good else ' WRONG'}" for one in both)
        lines.append(f"  {check.name:26}{marks}  (at most {check.tolerance:.0e})")
    lines += ["", "each command with its defaults, training alone, about:"]
    return lines + [f"  {name:26}  {duration(seconds)}" for name, seconds in found["seconds"].items()]
