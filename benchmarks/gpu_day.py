"""All that wants a GPU, in one command and 40 minutes: is it right, how fast is it, and beside whom?

    python benchmarks/gpu_day.py --peer ../nanoGPT --data tinyshakespeare.txt --json benchmarks/gpu_day.json
    python benchmarks/gpu_day.py --only doctor tests
    python benchmarks/gpu_day.py --tiny --data TEXT            on a CPU: that every stage runs, with tiny shapes

Each stage is a command of its own with a limit of time; one that fails or takes longer is noted, and the next begins.
What was found is written after every stage. Stages whose peer is not here (a checkout of nanoGPT, the packages peft
and trl) measure ours alone, or are left out, which is said.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from side_by_side import ROOT

LAST = 2000  # characters of what a stage printed that are kept


def stages(args, folder: Path) -> dict[str, tuple[float, list[str], str]]:
    """By name: minutes at most, the command, and what is missing here ("": nothing).

    Together 40 minutes at most on a GPU.
    """
    peer = ["--peer", str(args.peer)] if args.peer else []
    turns = ["--repeats", "1" if args.tiny else "3"]
    text = "" if args.data else "--data, a text such as tinyshakespeare"
    runs, device = str(folder / "runs"), "cpu" if args.tiny else "cuda"
    short = "--depth 1 --max-steps 3 --samples 1".split() if args.tiny else []
    missing = {name: f"the package {name}" * (importlib.util.find_spec(name) is None) for name in ("peft", "trl")}

    def bench(name: str, *flags: str) -> list[str]:
        return [sys.executable, f"benchmarks/{name}.py", *flags, *turns, "--json", str(folder / f"{name}.json")]

    def command(*flags: str) -> list[str]:
        return [sys.executable, "train.py", *flags, "--device", device]

    return {
        "doctor": (1, command("doctor", "--json"), ""),
        "tests": (6, [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "gpu", "tests/gpu", *few(args)], ""),
        "tokens a second at 124M": (8, bench("train_speed", *peer), ""),
        "generation": (3, bench("generate_speed", *peer), ""),
        "LoRA beside peft": (3, bench("peft_speed"), missing["peft"]),
        "pretrain": (3, command("pretrain", *short, "--out", f"{runs}/pretrain"), ""),
        "sft": (4, command("sft", *short[2:4], "--from", f"{runs}/pretrain", "--out", f"{runs}/sft"), ""),
        "DPO beside trl": (4, bench("dpo_speed", "--gpu", "--run-folder", f"{runs}/sft"), missing["trl"]),
        "time to 1.4697": (8, bench("time_to_loss", "--work", "headline", "--data", str(args.data), *peer), text),
    }


def few(args) -> list[str]:
    """Of the tests all, or where shapes are tiny those of one stage."""
    return ["-k", "every_optimizer"] if args.tiny else []


def run(name: str, minutes: float, command: list[str], args) -> dict:
    """One stage: how it ended, what it printed at last, and after how many seconds."""
    environment = {**os.environ, "MINILLM_TINY": "1", "MINILLM_GPU_TESTS": "cpu"} if args.tiny else {**os.environ}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    start, limit = time.time(), 60 * minutes
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=limit)
        ended, said = ("good" if done.returncode == 0 else f"exit status {done.returncode}"), done.stdout
        said += "" if done.returncode == 0 else done.stderr
    except subprocess.TimeoutExpired:
        ended, said = f"stopped after {minutes:g} minutes", ""
    return {"ended": ended, "seconds": round(time.time() - start, 1), "command": command, "said": said[-LAST:]}


def main(args) -> int:
    """All stages in turn. Returns: the exit status, 1 where one did not end well."""
    found: dict = {"device": "cpu" if args.tiny else torch.cuda.get_device_name(), "torch": torch.__version__}
    found["stages"] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, (minutes, command, missing) in stages(args, folder).items():
            if (args.only and name not in args.only) or name in args.skip:
                continue
            if missing:
                print(f"{name}: left out; it needs {missing}", flush=True)
                continue
            print(f"{name}: {minutes} minutes at most", flush=True)
            row = run(name, minutes, command, args)
            stored = folder / f"{Path(command[1]).stem}.json"
            row["figures"] = json.loads(stored.read_text()) if stored.exists() else None
            found["stages"][name] = row
            print(f"{row['said']}\n{name}: {row['ended']}, {row['seconds']:.0f} seconds\n", flush=True)
            if args.json:
                args.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(any(row["ended"] != "good" for row in found["stages"].values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="a checkout of nanoGPT")
    parser.add_argument("--data", type=Path, help="tinyshakespeare, for the time to a loss")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found to FILE, after every stage")
    parser.add_argument("--skip", nargs="*", default=[], metavar="STAGE", help="stages to leave out")
    parser.add_argument("--only", nargs="*", default=[], metavar="STAGE", help="no stages but these")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes on a CPU, to see that it runs")
    given = parser.parse_args()
    given.peer, given.data = (path and path.resolve() for path in (given.peer, given.data))
    if not given.tiny and not torch.cuda.is_available():
        raise SystemExit("torch finds no CUDA device here; --tiny tries every stage on the CPU")
    raise SystemExit(main(given))
