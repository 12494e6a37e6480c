// What `in_node.ask` runs behind the page's code: questions come in as JSON, answers go out.
const asked = JSON.parse(require("fs").readFileSync(0, "utf8")), said = {};
const numbers = (rows) => rows.map((row) => Array.from(row));
const tokenizer = asked.tokenizer && new Tokenizer(asked.tokenizer);
if (asked.texts) said.ids = asked.texts.map((text) => tokenizer.encode(text));
if (asked.decode) said.texts = asked.decode.map((ids) => tokenizer.decode(ids));
if (asked.model) {
  const weights = unpack(bytesOfBase64(asked.data), asked.entries), model = build(asked.model, weights);
  for (const head of asked.off ?? []) model.off.add(head);
  said.all = (asked.strengths ?? [1]).map((strength) => asked.rows.map((ids, i) => {
    model.strength = strength;
    model.clear();
    const segments = asked.segments?.[i] ?? [];
    for (const n of asked.steps ?? [ids.length]) model.read(ids.slice(0, n), segments);
    const { heads = 0, layers = 0 } = model.config, maps = [];
    if (model.looks) for (let l = 0; l < layers; l++) for (let h = 0; h < heads; h++) maps.push(numbers(ids.map((_, t) => model.looks(l, h, t))));
    const output = asked.model.top && headOutputs(asked.model.top, weights, model.hidden);
    const top = asked.model.top?.kind === "TokenClassifier" ? numbers(output) : output && Array.from(output);
    return { logits: numbers(model.logits), maps, top, lens: asked.lens && numbers(model.lens(ids.length - 1)) };
  }));
  [said.rows] = said.all;
}
if (asked.filters) said.filters = asked.filters.map(([logits, ...how]) => Array.from(filtered(logits, ...how)));
if (asked.world) {
  const world = new World(asked.world, tokenizer);
  said.world = asked.prefixes.map((ids) => [...world.after(ids)]);
}
process.stdout.write(JSON.stringify(said));
