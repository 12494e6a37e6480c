"""What loading a model costs: processor seconds, and memory over that of its weights. Linux.

    python benchmarks/loading.py SmolLM2-135M-Instruct.Q4_1.gguf FOLDER ... [--dtype fp32 bf16]

Each load is a process of its own, which is asked how much memory it has had at most (VmHWM), before and after.
"""

import argparse
import json
import subprocess
import sys
import time


def peak() -> int:
    """Bytes that this process has had in memory at most."""
    with open("/proc/self/status") as file:
        return int(file.read().split("VmHWM:")[1].split()[0]) * 1024


def measure(path: str, dtype: str) -> dict:
    """The cost of one load, in this process."""
    from minillm.hub import load_model

    memory, began = peak(), time.process_time()
    model = load_model(path, dtype=dtype)
    seconds, memory = time.process_time() - began, peak() - memory
    return {"seconds": seconds, "memory": memory, "weights": sum(p.nbytes for p in model.parameters())}


def main() -> None:
    """Print a row for each model and dtype."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--dtype", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.one:
        print(json.dumps(measure(flags.paths[0], flags.dtype[0])))
        return
    print("| model | dtype | CPU seconds | weights, MB | memory over weights |\n|---|---|---|---|---|")
    for path in flags.paths:
        for dtype in flags.dtype:
            command = [sys.executable, __file__, path, "--dtype", dtype, "--one"]
            row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            ratio = row["memory"] / row["weights"]
            print(f"| {path} | {dtype} | {row['seconds']:.2f} | {row['weights'] / 1e6:,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
