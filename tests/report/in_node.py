"""The JavaScript of the page, run by node: `ask(model, tokenizer, questions)` answers what the tests compare."""

import base64
import json
import shutil
import subprocess
from pathlib import Path

import pytest

import minillm.report
from minillm.hub import web_model, web_tokenizer

PAGE = Path(minillm.report.__file__).parent / "page"
CODE = "".join((PAGE / name).read_text() for name in ("tokenizer.js", "weights.js", "model.js", "world.js"))
ASKING = (Path(__file__).parent / "ask.js").read_text()
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="node, which runs the page's code, is not here")


def ask(model=None, tokenizer=None, precision="fp32", **asked) -> dict:
    """What the page's code says."""
    if model is not None:
        web = web_model(model, precision)
        asked |= {"model": web.description, "entries": web.entries, "data": base64.b64encode(web.data).decode()}
    if tokenizer is not None:
        asked["tokenizer"] = web_tokenizer(tokenizer)
    found = subprocess.run(["node", "-e", CODE + ASKING], input=json.dumps(asked), capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-2000:]
    return json.loads(found.stdout)
