"""`train.py page`: what it writes, and what it refuses."""

import json
import re
from pathlib import Path

import pytest

from minillm.cli import main

MODELS = Path(__file__).resolve().parents[2] / "data" / "models"


def data_of(path: Path) -> dict:
    """The JSON in a page."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.S)[1])


def test_a_run_becomes_one_file_with_the_model_its_tokenizer_and_the_world(tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["page", "--from", str(MODELS / "pretrain"), "--out", str(out), "--precision", "int8"]) == 0
    data, text = data_of(out), out.read_text()
    assert data["task"] == "text" and len(data["world"]["nodes"]) > 50 and data["chat"] is None
    assert data["runs"][0]["precision"] == "int8" and out.stat().st_size < 1_400_000
    assert not re.search(r'(src|href)="(?!data:)', text.split('<script type="text/plain"')[0])
    assert "weights in int8" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, sentence",
    [
        (["--from", "pretrain", "--beside", "mlm"], "--beside takes two models that continue texts"),
        (["--from", "pretrain", "--pairs", "3"], "is no model of letters about the tales"),
        (["--from", "pretrain", "--reward", "reward"], "--reward has no use here"),
        (["--from", "nothing"], "holds no run"),
        (["--from", "pretrain", "--precision", "fp8"], "is none of auto, fp32, fp16, int8, int4"),
    ],
)
def test_what_cannot_be_shown_is_refused_and_nothing_is_written(flags, sentence, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(MODELS)
    with pytest.raises(SystemExit) if "fp8" in flags else pytest.MonkeyPatch.context():
        assert main(["page", *flags, "--out", str(tmp_path / "page.html")]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
