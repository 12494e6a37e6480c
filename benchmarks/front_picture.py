"""The picture at the top of the README: the loss of a run with its entropy floor, and a tale that its model generated.

    python train.py && python benchmarks/front_picture.py
    python benchmarks/front_picture.py --from RUN --out FILE --tale 4
"""

import argparse
import textwrap
from pathlib import Path

from minillm.report import loss_curve, picture
from minillm.training import History, RunFolder

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="from_", type=Path, default=ROOT / "runs/pretrain", help="a run of pretrain")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/front.png", help="where to draw it")
    parser.add_argument("--tale", type=int, default=4, help="which of samples.txt")
    flags = parser.parse_args()
    run = RunFolder(flags.from_)
    metrics = run.metrics()
    tales = (run.path / "samples.txt").read_text(encoding="utf-8").strip().split("\n\n")
    levels = {"counted bigram": metrics["bigram_loss"], "entropy floor: no model can go below": metrics["floor"]}
    with picture(flags.out, (1, 2), figsize=(10.4, 3.4)) as (curve, text):
        loss_curve(History(run.records()), levels, curve)
        curve.set(title=f"python train.py: {metrics['seconds']:.0f} seconds on two processor cores", ylim=(0, 4.5))
        text.set_axis_off()
        text.set_title("a tale that it generated")
        tale = "\n".join(textwrap.wrap(tales[flags.tale], 60))
        text.text(0.02, 0.95, tale, va="top", fontsize=10, linespacing=1.5, family="serif", transform=text.transAxes)


if __name__ == "__main__":
    main()
