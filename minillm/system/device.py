"""Where the numbers are computed and how exact they are: the only place that decides device, precision and seeds.

Weights and optimizer state are always fp32. Mixed precision casts inside the forward pass only (Micikevicius et al.
2018): bf16 where the processor multiplies it faster than fp32, else fp16 with scaled gradients on a GPU, else fp32.
"""

import contextlib
import math
import os
import random
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from minillm.system.distributed import place_of_process

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LARGEST_SEED = 2**32 - 1
MEMORY_LINES = Path("/proc/meminfo")  # of Linux
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of Linux; "max" where there is none


class Compute(NamedTuple):
    """A device and the precision of matrix products on it."""

    device: torch.device
    dtype: torch.dtype

    @property
    def name(self) -> str:
        """For people: "cpu (bf16)"."""
        return f"{self.device} ({next(name for name, dtype in DTYPES.items() if dtype == self.dtype)})"

    @classmethod
    def of(cls, model: torch.nn.Module) -> "Compute":
        """Where a model's weights are, in their own precision."""
        return cls(next((p.device for p in model.parameters()), torch.device("cpu")), torch.float32)

    def here(self) -> None:
        """Let this thread allocate on the device, and on no other."""
        if self.device.type == "cuda" and self.device.index is not None:
            torch.cuda.set_device(self.device)

    def autocast(self) -> contextlib.AbstractContextManager:
        """The context in which a forward pass runs."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, self.dtype)

    def pinned(self, batch: dict) -> dict:
        """The tensors of a batch in page-locked memory, from which they travel to a device without being waited for."""
        if self.device.type == "cpu":
            return batch
        return {key: value.pin_memory() if isinstance(value, torch.Tensor) else value for key, value in batch.items()}

    def to_device(self, batch: dict) -> dict:
        """The tensors of a batch, moved without waiting if they are `pinned`."""
        if self.device.type == "cpu":
            return batch
        return {
            key: value.to(self.device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for key, value in batch.items()
        }

    def synchronise(self) -> float:
        """Wait for the device, then read the clock (seconds)."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def peak_memory(self) -> int:
        """The most bytes held so far: of the GPU's memory there, of the whole process on a CPU (0 if unknown)."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        try:
            import resource  # not on Windows
        except ImportError:
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024

    def total_memory(self) -> float:
        """The bytes of memory that there are: of the GPU, else of the machine or of its container; inf if unknown."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[1]
        try:
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):  # Windows
            return math.inf
        try:
            return min(total, int(CONTAINER_LIMIT.read_text()))
        except (OSError, ValueError):  # no container, or one without a limit
            return total

    def free_memory(self) -> float:
        """The bytes that nobody uses: of the GPU, else of the machine, no more than its container's; inf if unknown."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        try:
            lines = dict(line.split(":") for line in MEMORY_LINES.read_text().splitlines())
            return min(int(lines["MemAvailable"].split()[0]) * 1024, self.total_memory())
        except (OSError, KeyError, ValueError):  # not Linux
            return self.total_memory()


def cpu_has_fast_bf16() -> bool:
    """Whether this processor has bf16 instructions; without them bf16 is slower than fp32."""
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, probe, lambda: False)() for probe in probes)


def pick_device(device: str = "auto", dtype: str = "auto") -> Compute:
    """Where to compute, and how exactly.

    Args:
        device: "auto", "cpu", "cuda" or "mps". "auto" never takes "mps", whose results differ between versions: the CPU
            is the reference.
        dtype: "auto", "fp32", "bf16" or "fp16".
    Raises: ValueError when the device is not there, or cannot compute in that precision.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and place_of_process()[1] > 1:
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"  # each process has a GPU of its own
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(
            f"--device {device}: torch finds no CUDA device here; use --device cpu, or install a CUDA build"
        )
    if device == "mps" and not torch.backends.mps.is_available():
        raise ValueError("--device mps: torch finds no Apple GPU here; use --device cpu")
    if device.split(":")[0] not in ("cpu", "cuda", "mps"):
        raise ValueError(f"unknown device {device!r}: choose auto, cpu, cuda or mps")
    if dtype == "auto":
        dtype = os.environ.get("MINILLM_DTYPE") or _fastest_dtype(device)
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}: choose auto, {', '.join(DTYPES)}")
    if dtype == "fp16" and not device.startswith("cuda"):
        raise ValueError("--dtype fp16 needs a CUDA device; use bf16 or fp32 on a CPU")
    # On a GPU, products of fp32 matrices may use TF32. On a CPU they stay exact: "medium" would compute them in bf16.
    torch.set_float32_matmul_precision("high" if device.startswith("cuda") else "highest")
    return Compute(torch.device(device), DTYPES[dtype])


def _fastest_dtype(device: str) -> str:
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    return "bf16" if device.startswith("cpu") and cpu_has_fast_bf16() else "fp32"


def check_seed(seed: int) -> None:
    """Raise ValueError for too large a seed: NumPy seeds are 32-bit; seed * 1,000,003 + epoch must fit in 64."""
    if abs(seed) > LARGEST_SEED:
        raise ValueError(f"the seed is {seed}: it must lie between -{LARGEST_SEED} and {LARGEST_SEED}")


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's random numbers, on every device; ValueError as `check_seed`."""
    check_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's loss_fn may draw from it
    torch.manual_seed(seed)


def random_state() -> dict:
    """The state of every random generator, as tensors and plain lists."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002
    version, internal, gauss = random.getstate()
    state = {"torch": torch.get_rng_state(), "python": [version, list(internal), gauss]}
    state["numpy"] = [name, keys.tolist(), *rest]
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Take back what `random_state` gave."""
    torch.set_rng_state(state["torch"])
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))  # noqa: NPY002
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
