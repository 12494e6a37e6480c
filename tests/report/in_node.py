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
ASKING = """
const asked = JSON.parse(require("fs").readFileSync(0, "utf8")), said = {};
const numbers = (rows) => rows.map((row) => Array.from(row));
const tokenizer = asked.tokenizer && new Tokenizer(asked.tokenizer);
if (asked.texts) said.ids = asked.texts.map((text) => tokenizer.encode(text));
if (asked.decode) said.texts = asked.decode.map((ids) => tokenizer.decode(ids));
if (asked.model) {
  const weights = unpack(bytesOfBase64(asked.data), asked.entries), model = build(asked.model, weights);
  model.strength = asked.strength ?? 1;
  for (const head of asked.off ?? []) model.off.add(head);
  said.rows = asked.rows.map((ids, i) => {
    model.clear();
    const segments = asked.segments?.[i] ?? [];
    for (const n of asked.steps ?? [ids.length]) model.read(ids.slice(0, n), segments);
    const { heads = 0, layers = 0 } = model.config, maps = [];
    if (model.looks) for (let l = 0; l < layers; l++) for (let h = 0; h < heads; h++) maps.push(numbers(ids.map((_, t) => model.looks(l, h, t))));
    const output = asked.model.top && headOutputs(asked.model.top, weights, model.hidden);
    const top = asked.model.top?.kind === "TokenClassifier" ? numbers(output) : output && Array.from(output);
    return { logits: numbers(model.logits), maps, top, lens: asked.lens && numbers(model.lens(ids.length - 1)) };
  });
}
if (asked.filters) said.filters = asked.filters.map(([logits, ...how]) => Array.from(filtered(logits, ...how)));
if (asked.world) {
  const world = new World(asked.world, tokenizer);
  said.world = asked.prefixes.map((ids) => [...world.after(ids)]);
}
process.stdout.write(JSON.stringify(said));
"""
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
