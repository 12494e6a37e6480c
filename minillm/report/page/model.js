// The model, from token ids to the scores of the next token: minillm/models over again, for one text, with every
// number in sight. A vector is an array of numbers; xs is a list of vectors, one for each position.

// ---- The pieces ---------------------------------------------------------------------------------------------------

const dot = (a, b) => { let sum = 0; for (let i = 0; i < a.length; i++) sum += a[i] * b[i]; return sum; };
const add = (x, y) => x.map((v, i) => v + y[i]);

// W x for each x: a row of W and a vector give one number. Of quantised weights, a group at a time.
function linear({ numbers, shape: [rows, columns], scales, least, group }, xs) {
  const ys = xs.map(() => new Float32Array(rows)), step = group ?? columns, steps = Math.ceil(columns / step);
  for (let t = 0; t < xs.length; t++) {
    const x = xs[t], y = ys[t], sums = least && Array.from({ length: steps }, (_, g) => x.subarray(g * step, (g + 1) * step).reduce((a, b) => a + b));
    for (let i = 0, at = 0, g = 0; i < rows; i++) {
      let sum = 0;
      for (let end = step, j = 0; j < columns; end += step) {
        let part = 0, other = 0; // two sums, so that a product need not wait for the last one
        const stop = Math.min(end, columns);
        for (; j + 3 < stop; j += 4, at += 4) {
          part += numbers[at] * x[j] + numbers[at + 1] * x[j + 1];
          other += numbers[at + 2] * x[j + 2] + numbers[at + 3] * x[j + 3];
        }
        for (part += other; j < stop; j++) part += numbers[at++] * x[j];
        if (least) part = part * scales[g] + least[g] * sums[g++ % steps];
        else if (scales) part *= scales[g++];
        sum += part;
      }
      y[i] = sum;
    }
  }
  return ys;
}

function row({ numbers, shape, scales, least, group }, i) { // one row of a table: the vector of a token
  const columns = shape[1], x = Float32Array.from(numbers.subarray(i * columns, (i + 1) * columns));
  if (!scales) return x;
  const first = i * Math.ceil(columns / group), of = (j) => first + Math.floor(j / group);
  return x.map((v, j) => v * scales[of(j)] + (least ? least[of(j)] : 0));
}

function softmax(scores) { // probabilities: all positive, and their sum is one
  let highest = -Infinity, total = 0;
  for (const score of scores) highest = Math.max(highest, score);
  const powers = new Float64Array(scores.length);
  for (let i = 0; i < powers.length; i++) total += powers[i] = Math.exp(scores[i] - highest);
  for (let i = 0; i < powers.length; i++) powers[i] /= total;
  return powers;
}

// Norms: "layer" and "plain" take the mean away, "rms" does not; "plain" has no weights, "rms1" multiplies by 1 + w.
function normalised(x, kind, eps, weight, bias) {
  let mean = 0, square = 0;
  if (kind === "layer" || kind === "plain") for (let i = 0; i < x.length; i++) mean += x[i] / x.length;
  for (let i = 0; i < x.length; i++) square += (x[i] - mean) ** 2 / x.length;
  const scale = 1 / Math.sqrt(square + eps), more = kind === "rms1" ? 1 : 0;
  if (!weight) return x.map((v) => (v - mean) * scale);
  return x.map((v, i) => (v - mean) * scale * (weight[i] + more) + (bias ? bias[i] : 0));
}

const erf = (x) => { // Abramowitz & Stegun 7.1.26
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
};
const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const ACTIVATIONS = {
  relu2: (x) => Math.max(x, 0) ** 2,
  gelu: (x) => 0.5 * x * (1 + erf(x / Math.SQRT2)),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3))),
  silu: (x) => x * sigmoid(x),
};
const capped = (x, cap) => (cap ? cap * Math.tanh(x / cap) : x);

// ---- The transformer ----------------------------------------------------------------------------------------------

class Transformer {
  constructor({ config, adapters }, weights) {
    this.config = config;    // sizes, and which parts this family has (minillm/models/recipes.py)
    this.weights = weights;  // name -> {shape, numbers}
    this.adapters = adapters ?? {}; // path of a part -> what was put on it
    this.strength = 1;       // how much of the adapters counts
    this.off = new Set();    // "layer.head" of heads that are switched off
    this.clear();
  }

  clear() {
    const { layers, heads } = this.config, list = (make) => Array.from({ length: layers }, make);
    this.ids = [];                 // the tokens read so far
    this.embedded = [];            // [position]: what stands there before the first layer
    this.keys = list(() => []);    // [layer][position]: the cache. What was read is not read again.
    this.values = list(() => []);
    this.maps = list(() => Array.from({ length: heads }, () => [])); // [layer][head][position]: attention weights
    this.stream = Array.from({ length: layers + 1 }, () => []);      // [layer][position]: the residual stream
    this.hidden = [];              // [position]: behind the last norm
    this.logits = [];              // [position]: a score for each token that may follow
    this.begun = 0;                // vectors of a soft prompt that stand before the text
  }

  // Read a text. What it shares with the text before stays; only its new end is computed. An encoder reads all anew.
  read(ids, segments = []) {
    let same = 0;
    if (this.config.causal) while (same < ids.length && this.ids[same] === ids[same]) same++;
    else this.clear();
    this.forget(same);
    if (ids.length > same) this.step(ids.slice(same), segments.slice(same));
  }

  forget(same) {
    if (same === 0) this.clear();
    const prompt = this.begun;
    for (const list of [this.ids, this.logits, this.hidden]) list.length = Math.min(list.length, same);
    for (const list of [this.embedded, ...this.keys, ...this.values, ...this.maps.flat(), ...this.stream]) {
      list.length = Math.min(list.length, same + prompt);
    }
  }

  // Some tokens more, all at once: layer by layer, each position looks at those before it.
  step(ids, segments = []) {
    const prompt = this.ids.length === 0 && this.strength ? (this.adapters[""]?.[0]?.vectors ?? []) : [];
    this.begun += prompt.length;
    const first = this.embedded.length;
    const vectors = [...prompt.map((name) => row(this.weights[name.table], name.row)), ...ids.map((id) => row(this.weights["embedding.weight"], id))];
    let xs = this.embed(vectors, first, segments);
    this.stream[0].push(...xs);
    for (let layer = 0; layer < this.config.layers; layer++) {
      xs = this.block(layer, xs, first);
      this.stream[layer + 1].push(...xs);
    }
    xs = xs.slice(prompt.length);
    this.ids.push(...ids);
    this.hidden.push(...(this.config.block === "post" ? xs : this.norm("norm", xs)));
    if (this.config.head) this.logits.push(...this.unembed(this.hidden.slice(-ids.length)));
  }

  embed(xs, first, segments) {
    const { position, segment } = { position: this.weights["position.weight"], segment: this.weights["segment.weight"] };
    if (position) xs = xs.map((x, t) => add(x, row(position, first + t)));
    if (segment) xs = xs.map((x, t) => add(x, row(segment, segments[t] ?? 0)));
    this.embedded.push(...xs);
    const share = this.weights["shift.share"]?.numbers; // token shift: each hears what stands right before it
    if (share) xs = xs.map((x, t) => (first + t ? x.map((v, i) => v + share[i] * this.embedded[first + t - 1][i]) : x));
    if (this.config.times) xs = xs.map((x) => x.map((v) => v * this.config.times));
    return this.config.block === "post" ? this.norm("first_norm", xs) : xs;
  }

  // A layer: look at the others, then think for yourself. Families differ in where they normalise.
  block(layer, xs, first) {
    const at = `blocks.${layer}.`, norm = (name, xs) => this.norm(at + name, xs);
    const attend = (xs) => this.attention(layer, xs, first), think = (xs) => this.feedForward(at, xs);
    const plus = (xs, ys) => xs.map((x, t) => add(x, ys[t]));
    switch (this.config.block) {
      case "post": // after the addition (BERT)
        xs = norm("norm_1", plus(xs, attend(xs)));
        return norm("norm_2", plus(xs, think(xs)));
      case "parallel": // both branches read the same (GPT-NeoX)
        return plus(plus(xs, attend(norm("norm_1", xs))), think(norm("norm_2", xs)));
      case "branch": // at the end of the branch (OLMo 2)
        xs = plus(xs, norm("norm_1", attend(xs)));
        return plus(xs, norm("norm_2", think(xs)));
      case "sandwich": // at both ends (Gemma 2)
        xs = plus(xs, norm("after_1", attend(norm("norm_1", xs))));
        return plus(xs, norm("after_2", think(norm("norm_2", xs))));
      default: // before the branch (GPT-2, Llama, ours)
        xs = plus(xs, attend(norm("norm_1", xs)));
        return plus(xs, think(norm("norm_2", xs)));
    }
  }

  feedForward(at, xs) {
    const act = ACTIVATIONS[this.config.activation], up = this.linear(at + "feed_forward.up", xs);
    const inner = this.config.gated
      ? this.linear(at + "feed_forward.gate", xs).map((gate, t) => gate.map((v, i) => act(v) * up[t][i]))
      : up.map((x) => x.map(act));
    return this.linear(at + "feed_forward.down", inner);
  }

  attention(layer, xs, first) {
    const { heads, groups, head_dim: D, causal } = this.config, at = `blocks.${layer}.attention.`;
    const split = (x) => Array.from({ length: x.length / D }, (_, h) => x.slice(h * D, (h + 1) * D));
    const kind = this.config.pattern[layer % this.config.pattern.length];
    const ready = (name) => this.linear(at + name, xs).map((x, t) =>
      this.normHeads(at + name + "_norm", x).map((part) => this.rotate(part, first + t, kind)));
    const queries = ready("query");
    this.keys[layer].push(...ready("key"));
    this.values[layer].push(...this.linear(at + "value", xs).map(split));
    const scale = 1 / Math.sqrt(this.config.query_scale || D), window = kind === "l" ? this.config.window : Infinity;
    const beside = this.strength ? this.prefix(layer) : null;
    const { keys, values } = { keys: this.keys[layer], values: this.values[layer] }, places = beside?.keys[0].length ?? 0;
    const out = queries.map((query, t) => {
      const here = first + t, y = new Float32Array(heads * D), end = causal ? here + 1 : keys.length;
      for (let h = 0; h < heads; h++) {
        const group = Math.floor((h * groups) / heads); // several heads may share keys and values
        const scores = new Float64Array(places + end);
        for (let p = 0; p < places; p++) scores[p] = capped(dot(query[h], beside.keys[group][p]) * scale, this.config.score_cap);
        for (let s = 0; s < end; s++) {
          const far = Math.abs(here - s) >= window;
          scores[places + s] = far ? -Infinity : capped(dot(query[h], keys[s][group]) * scale, this.config.score_cap);
        }
        const weights = softmax(scores); // how much of each position's value is taken
        this.maps[layer][h][here] = weights.subarray(places + this.begun);
        if (this.off.has(`${layer}.${h}`)) continue;
        for (let s = 0; s < weights.length; s++) {
          const value = s < places ? beside.values[group][s] : values[s - places][group], w = weights[s];
          if (w) for (let i = 0; i < D; i++) y[h * D + i] += w * value[i];
        }
        this.gate(layer, query[h], group, y, h * D);
      }
      return y;
    });
    return this.linear(at + "output", out);
  }

  normHeads(name, x) { // queries and keys may be normalised, each head or all together; then they are cut into heads
    const { head_dim: D, qk, norm, eps } = this.config, weight = this.weights[name + ".weight"]?.numbers;
    if (qk === "all") x = normalised(x, norm, eps, weight);
    const parts = Array.from({ length: x.length / D }, (_, h) => x.slice(h * D, (h + 1) * D));
    if (qk === "plain") return parts.map((part) => normalised(part, "plain", 1e-5));
    return qk === "head" ? parts.map((part) => normalised(part, norm, eps, weight)) : parts;
  }

  // Turn pairs of channels by angles that grow with the position: two turned vectors know how far apart they are.
  rotate(x, position, kind) {
    const turns = kind === "n" ? [] : kind === "l" && this.config.local_turns ? this.config.local_turns : this.config.turns;
    const y = Float32Array.from(x), half = turns.length;
    for (let i = 0; i < half; i++) {
      const angle = Math.fround(position * turns[i]), cos = Math.cos(angle), sin = Math.sin(angle);
      y[i] = x[i] * cos - x[i + half] * sin;
      y[i + half] = x[i + half] * cos + x[i] * sin;
    }
    return y;
  }

  norm(name, xs) {
    const weight = this.weights[name + ".weight"]?.numbers, bias = this.weights[name + ".bias"]?.numbers;
    const ys = xs.map((x) => normalised(x, this.config.norm, this.config.eps, weight, bias));
    return this.adapted(name, xs, ys);
  }

  linear(name, xs) {
    const on = this.adapters[name] ?? [], s = this.strength;
    for (const { kind, vector } of on) { // IA3 may scale what comes in
      if (kind === "scale_in") xs = xs.map((x) => x.map((v, i) => v * (1 + s * (this.weights[vector].numbers[i] - 1))));
    }
    let ys = linear(this.weights[name + ".weight"], xs);
    const bias = this.weights[name + ".bias"]?.numbers;
    if (bias) ys = ys.map((y) => add(y, bias));
    return this.adapted(name, xs, ys);
  }

  // What adapters change of a part: LoRA's narrow path beside it, a detour behind it, a factor, a shift.
  adapted(name, xs, ys) {
    const s = this.strength;
    for (const adapter of s ? (this.adapters[name] ?? []) : []) {
      const W = (part) => this.weights[adapter[part]];
      if (adapter.kind === "low") linear(W("B"), linear(W("A"), xs)).forEach((z, t) => (ys[t] = ys[t].map((v, i) => v + s * z[i])));
      if (adapter.kind === "scale") ys = ys.map((y) => y.map((v, i) => v * (1 + s * (W("vector").numbers[i] - 1))));
      if (adapter.kind === "shift") ys = ys.map((y) => y.map((v, i) => v + s * W("vector").numbers[i]));
      if (adapter.kind === "detour") {
        const down = linear(W("down"), ys).map((y) => y.map((v, i) => ACTIVATIONS.gelu(v + W("down_bias").numbers[i])));
        linear(W("up"), down).forEach((z, t) => (ys[t] = ys[t].map((v, i) => v + s * (z[i] + W("up_bias").numbers[i]))));
      }
    }
    return ys;
  }

  prefix(layer) { // keys and values that belong to no token: [group][place]
    const adapter = this.adapters[`blocks.${layer}.attention.attend`]?.find(({ kind }) => kind === "prefix");
    if (!adapter) return null;
    const part = (name) => {
      const { numbers, shape: [groups, places, D] } = this.weights[adapter[name]];
      return Array.from({ length: groups }, (_, g) => Array.from({ length: places }, (_, p) => numbers.subarray((g * places + p) * D, (g * places + p + 1) * D)));
    };
    return (adapter.parts ??= { keys: part("keys"), values: part("values") });
  }

  gate(layer, query, group, y, at) { // LLaMA-Adapter: attention to learned keys alone, behind a gate
    const adapter = this.strength && this.adapters[`blocks.${layer}.attention.attend`]?.find(({ kind }) => kind === "gated");
    if (!adapter) return;
    const D = query.length, keys = this.weights[adapter.keys], values = this.weights[adapter.values], places = keys.shape[1];
    const of = ({ numbers }, p) => numbers.subarray((group * places + p) * D, (group * places + p + 1) * D);
    const weights = softmax(Array.from({ length: places }, (_, p) => dot(query, of(keys, p)) / Math.sqrt(D)));
    weights.forEach((w, p) => of(values, p).forEach((v, i) => (y[at + i] += this.strength * adapter.gate * w * v)));
  }

  // Where a head looks from a position: how much of each position it takes. They sum to one, but for a learned prefix.
  looks(layer, head, position) { return this.maps[layer][head][position + this.begun]; }

  // The output layer: how well does the vector fit each token?
  unembed(xs) {
    const { head, tied, logit_cap } = this.config, table = this.weights[tied ? "embedding.weight" : "head.weight"];
    if (head === "masked") { // BERT's goes through a layer more
      xs = this.linear("head.transform", xs).map((x) => x.map(ACTIVATIONS.gelu));
      xs = xs.map((x) => normalised(x, "layer", this.config.eps, this.weights["head.norm.weight"].numbers, this.weights["head.norm.bias"].numbers));
    }
    const bias = this.weights["head.bias"]?.numbers, ys = this.adapted("head", xs, linear(table, xs));
    return ys.map((y) => y.map((v, i) => capped(v + (bias ? bias[i] : 0), logit_cap)));
  }

  // The logit lens: what would be said behind each layer, if it were the last (nostalgebraist 2020).
  lens(position) {
    const at = position + this.begun;
    return this.stream.map((layer) => this.unembed(this.config.block === "post" ? [layer[at]] : this.norm("norm", [layer[at]]))[0]);
  }
}

// ---- Its elders ---------------------------------------------------------------------------------------------------

class LSTM { // a state is passed from token to token (Hochreiter & Schmidhuber 1997; minillm/models/lstm.py)
  constructor({ config }, weights) {
    Object.assign(this, { config, weights, off: new Set(), strength: 1 });
    this.clear();
  }

  clear() { Object.assign(this, { ids: [], states: [], hidden: [], logits: [], maps: [] }); }

  read(ids) {
    let same = 0;
    while (same < ids.length && this.ids[same] === ids[same]) same++;
    this.forget(same);
    if (ids.length > same) this.step(ids.slice(same));
  }

  forget(same) { for (const list of [this.ids, this.states, this.hidden, this.logits]) list.length = Math.min(list.length, same); }

  step(ids) {
    const { layers, width } = this.config, W = (name) => this.weights[name];
    for (const id of ids) {
      let x = row(W("embedding.weight"), id);
      const before = this.states.at(-1), state = [];
      for (let layer = 0; layer < layers; layer++) {
        const [h, c] = before?.[layer] ?? [new Float32Array(width), new Float32Array(width)];
        const bias = add(W(`lstm.bias_ih_l${layer}`).numbers, W(`lstm.bias_hh_l${layer}`).numbers);
        const gates = add(add(linear(W(`lstm.weight_ih_l${layer}`), [x])[0], linear(W(`lstm.weight_hh_l${layer}`), [h])[0]), bias);
        const gate = (k, i) => gates[k * width + i]; // 0: input, 1: forget, 2: what is new, 3: output
        const cell = c.map((v, i) => sigmoid(gate(1, i)) * v + sigmoid(gate(0, i)) * Math.tanh(gate(2, i)));
        x = cell.map((v, i) => sigmoid(gate(3, i)) * Math.tanh(v));
        state.push([x, cell]);
      }
      this.ids.push(id);
      this.states.push(state);
      this.hidden.push(x);
      if (W("head.weight")) this.logits.push(linear(W("head.weight"), [x])[0]);
    }
  }
}

class Bigram { // a table: the scores of what may follow each token
  constructor({ config }, weights) {
    Object.assign(this, { config, weights, off: new Set(), strength: 1 });
    this.clear();
  }

  clear() { Object.assign(this, { ids: [], logits: [], maps: [] }); }

  forget(same) { this.ids.length = this.logits.length = Math.min(this.ids.length, same); }

  read(ids) {
    this.ids = [...ids];
    this.logits = ids.map((id) => row(this.weights["table.weight"], id));
  }

  step(ids) { this.read([...this.ids, ...ids]); }
}

const KINDS = { Decoder: Transformer, Encoder: Transformer, LSTMLM: LSTM, BigramLM: Bigram };
const build = (description, weights) => new KINDS[description.kind](description, weights);

// ---- A head on the trunk (minillm/models/heads.py) ------------------------------------------------------------------

function pooled(xs, how) { // one vector for a text
  if (how === "first") return xs[0];
  if (how === "last") return xs.at(-1);
  return xs.reduce((sum, x) => add(sum, x)).map((v) => v / xs.length);
}

function headOutputs({ kind, pooling }, weights, xs) { // the numbers that a head says; of a tagger, for each token
  const full = (name, xs) => linear(weights[name + ".weight"], xs).map((y) => add(y, weights[name + ".bias"].numbers));
  if (kind === "TokenClassifier") return full("top.head", xs);
  let x = pooled(xs, pooling);
  if (kind === "TextEncoder") return x.map((v) => v / Math.sqrt(dot(x, x)));
  if (kind === "PooledClassifier") x = full("top.pooler", [x])[0].map(Math.tanh);
  return full("top.head", [x])[0];
}

// ---- Choosing a token (minillm/inference/sampling.py) ---------------------------------------------------------------

// Temperature, then top-k, then top-p: probabilities, 0 for what is cut off. At temperature 0 the likeliest is certain.
function filtered(logits, temperature = 1, topK = 0, topP = 1) {
  if (temperature < 1e-6) {
    const best = logits.indexOf(logits.reduce((a, b) => Math.max(a, b)));
    return Float64Array.from(logits, (_, i) => +(i === best));
  }
  let scores = Float64Array.from(logits, (logit) => logit / temperature);
  if (!topK && topP >= 1) return softmax(scores);
  const order = Array.from(scores.keys()).sort((a, b) => scores[b] - scores[a]);
  if (topK > 0 && topK < scores.length) {
    const smallest = scores[order[topK - 1]];
    scores = scores.map((score) => (score < smallest ? -Infinity : score));
  }
  if (topP < 1) {
    const chances = softmax(scores);
    let before = 0; // the probability of all that is likelier
    for (const id of order) {
      if (before >= topP && before > 0) scores[id] = -Infinity;
      before += chances[id];
    }
  }
  return softmax(scores);
}

function draw(chances, random = Math.random) {
  let left = random();
  for (let id = 0; id < chances.length; id++) if ((left -= chances[id]) < 0) return id;
  return chances.indexOf(chances.reduce((a, b) => Math.max(a, b)));
}
