// What all views share: elements, the runs, bars, tokens, maps of heads.

const $ = (id) => document.getElementById(id);
const make = (tag, properties = {}, ...children) => { // text goes in as text: nothing that a model says becomes markup
  const { style, data, ...others } = properties, element = Object.assign(document.createElement(tag), others);
  for (const [name, value] of Object.entries(style ?? {})) element.style.setProperty(name, value);
  Object.assign(element.dataset, data ?? {});
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
};
const data = JSON.parse($("data").textContent);
const visible = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "·");
const percent = (p) => (p === undefined ? "" : p === 0 ? "0" : p < 0.0005 ? "<.1 %" : p > 0.9995 && p < 1 ? ">99.9 %" : (100 * p).toFixed(1) + " %");
const nats = (value) => (Number.isFinite(value) ? value.toFixed(2) : value === Infinity ? "∞" : "");
const pause = () => new Promise((resolve) => setTimeout(resolve));
const entropyOf = (chances) => { let sum = 0; for (const p of chances) if (p > 0) sum -= p * Math.log(p); return sum; };
const COLOURS = ["model", "second"]; // of the runs, as page.css has them
const HEAVY = 4e6; // parameters of a model that makes the page wait

// One run: its model, and how surprising it finds each token of what it has read.
class Run {
  constructor(said, bytes, colour) {
    Object.assign(this, said, { colour, surprises: [] }); // name, about, description, entries, offset, size
    this.weights = unpack(bytes.slice(this.offset, this.offset + this.size), this.entries);
    this.model = build(this.description, this.weights);
    this.heavy = this.description.parameters > HEAVY;
  }

  // Read a text; a large model token by token, so that the page can be used meanwhile. False: something else was asked.
  async read(ids, wanted = () => true, segments = []) {
    const { model } = this, causal = model.config.causal !== false;
    let same = 0;
    while (causal && same < Math.min(ids.length, model.ids.length) && model.ids[same] === ids[same]) same++;
    for (let n = same + 1; this.heavy && causal && n < ids.length; n++) {
      $("busy").textContent = `${this.name} reads token ${n} of ${ids.length}…`;
      model.read(ids.slice(0, n));
      await pause();
      if (!wanted()) return false;
    }
    model.read(ids, segments);
    this.surprises.length = Math.min(this.surprises.length, same);
    $("busy").textContent = "";
    return true;
  }

  surprise(position) { // -log p of a token, in nats; nothing announces the first
    if (!position) return 0;
    this.surprises[position] ??= -Math.log(softmax(this.model.logits[position - 1])[this.model.ids[position]]);
    return this.surprises[position];
  }

  again() { this.model.clear(); this.surprises = []; } // something about the model has changed
}

const tokenizer = new Tokenizer(data.tokenizer);
const world = data.world && new World(data.world, tokenizer);
const runs = [];
const piece = (id) => visible(tokenizer.piece(id));

function panel(title, says, lesson, ...children) { // each has one sentence that says what it shows
  const link = lesson && make("span", { className: "lesson" }, "(", make("a", { href: lesson.href, textContent: lesson.name }), ")");
  const sentence = make("p", { className: "says" }, says, ...(link ? [" ", link] : []));
  return make("section", {}, make("h2", { textContent: title }), sentence, ...children);
}
const lesson = (number) => data.lessons[number];

function slider(name, settings, value, change) {
  const input = make("input", { type: "range", ...settings, ariaLabel: name });
  input.value = value;
  const output = make("output", { textContent: value });
  input.addEventListener("input", () => { output.textContent = input.value; change(+input.value); });
  input.set = (value) => { input.value = value; output.textContent = input.value; };
  return [make("label", { className: "slide" }, name, input, output), input];
}

function choice(name, options, change) { // [value, text] pairs
  const select = make("select", { ariaLabel: name, onchange: () => change(select.value) },
    ...options.map(([value, text]) => make("option", { value, textContent: text })));
  return select;
}

const button = (text, onclick, properties = {}) => make("button", { type: "button", textContent: text, onclick, ...properties });

// ---- Bars: how likely is each, by the model, a second one, the world ------------------------------------------------

// series: [{name, colour, of(id) -> probability}]; rows: [{label, id, cut}]
function bars(series, rows, take) {
  const top = Math.max(0.02, ...rows.flatMap(({ id }) => series.map(({ of }) => of(id) ?? 0)));
  return rows.map(({ label, id, cut, title }) => {
    const share = ({ colour, of }) => make("i", {
      className: of(id) ? colour : "none", style: { width: `${(100 * (of(id) ?? 0)) / top}%` },
    });
    const rail = make("span", { className: "rail", ariaHidden: "true" }, ...series.map(share));
    const numbers = series.map(({ colour, of }) => make("span", { className: "of-" + colour, textContent: percent(of(id) ?? 0) }));
    const inside = [make("code", { textContent: label }), rail, make("span", { className: "numbers" }, ...numbers)];
    if (!take) return make("div", { className: "bar" }, ...inside);
    return make("button", { type: "button", className: cut ? "bar cut" : "bar", title: title ?? "", data: { id }, onclick: () => take(id) }, ...inside);
  });
}

const keyOf = (series) => make("p", { className: "small keys" }, ...series.map(({ name, colour }) =>
  make("span", {}, make("i", { className: `key ${colour}` }), name)));

// ---- Tokens: a row of buttons that keep their places when something changes -------------------------------------------

class TokenRow {
  constructor(pick, point = () => {}) {
    this.box = make("div", { className: "tokens", role: "group", ariaLabel: "Tokens" });
    this.made = [];
    Object.assign(this, { pick, point });
    new ResizeObserver(() => this.keepInSight(this.last)).observe(this.box);
  }

  keepInSight(token) {
    if (!token) return;
    const { top, bottom } = token.getBoundingClientRect(), box = this.box.getBoundingClientRect();
    if (bottom > box.bottom) this.box.scrollTop += bottom - box.bottom;
    else if (top < box.top) this.box.scrollTop -= box.top - top;
  }

  // looks: [{id, heat 0 to 1, classes, below}] for each token
  show(looks) {
    const lines = Math.max(...looks.map(({ below }) => (below ? below.split("\n").length : 0)));
    while (this.made.length > looks.length) this.made.pop().forEach((element) => element.remove());
    looks.forEach((look, at) => {
      if (this.made[at]?.id !== look.id) this.put(at, look.id);
      const [token, below] = this.made[at];
      token.className = ["token", ...look.classes].join(" ");
      token.style.setProperty("--heat", look.heat.toFixed(3));
      token.title = look.title ?? "";
      below.textContent = look.below || "\u00a0"; // so that all stand on one line
      below.hidden = !lines;
    });
    const picked = this.made.find(([token]) => token.classList.contains("picked"))?.[0];
    if (picked !== this.last) this.keepInSight(picked);
    this.last = picked;
  }

  put(at, id) {
    this.made.splice(at).flat().forEach((element) => element.remove());
    const text = tokenizer.piece(id), below = make("small");
    const token = make("button", { type: "button", onclick: () => this.pick(at), onpointerenter: () => this.point(at), onpointerleave: () => this.point(-1) },
      text.replaceAll("\n", "⏎").replaceAll("\t", "⇥"), below);
    const made = [token, below, ...(text.includes("\n") ? [make("br")] : [])];
    made.id = id;
    this.made[at] = made;
    this.box.append(token, ...made.slice(2));
  }
}

// ---- Where each head looks ---------------------------------------------------------------------------------------

const SHOWN = 24; // heads side by side; of a larger model one layer is shown

class HeadMaps {
  constructor(changed, point) {
    Object.assign(this, { changed, point, layer: 0 });
    this.box = make("div", { className: "heads" });
    this.pair = make("p", { className: "pair", ariaLive: "polite" });
    this.layers = make("span");
    this.allOn = button("All heads on", () => { this.run.model.off.clear(); this.changed(this.run); });
    this.top = make("div", { className: "row top" }, this.layers, this.allOn);
  }

  show(run) {
    const { layers, heads } = run.model.config, all = layers * heads <= SHOWN;
    if (this.run !== run) {
      this.run = run;
      this.layers.replaceChildren(...(all ? [] : [make("label", {}, "layer", choice("Layer", Array.from({ length: layers }, (_, l) => [l, l + 1]), (l) => { this.layer = +l; this.fill(); this.draw(); }))]));
      this.layer = 0;
      this.fill();
    }
    this.draw();
  }

  fill() {
    const { layers, heads } = this.run.model.config, all = layers * heads <= SHOWN;
    this.figures = [];
    for (let layer = all ? 0 : this.layer; layer < (all ? layers : this.layer + 1); layer++) for (let head = 0; head < heads; head++) {
      const name = `layer ${layer + 1}, head ${head + 1}`, canvas = make("canvas", { ariaLabel: `Attention map of ${name}`, role: "img" });
      const toggle = button("off", () => {
        const { off } = this.run.model, key = `${layer}.${head}`;
        if (!off.delete(key)) off.add(key);
        this.changed(this.run);
      }, { title: `switch ${name} off and on` });
      toggle.ariaPressed = "false";
      const figure = make("figure", {}, canvas, make("figcaption", {}, `${layer + 1}.${head + 1}`, toggle));
      const at = (event) => {
        const T = this.run.model.ids.length, { left, top, width, height } = canvas.getBoundingClientRect();
        const column = Math.floor(((event.clientX - left) / width) * T), row = Math.floor(((event.clientY - top) / height) * T);
        if (row >= 0 && row < T && column >= 0 && column < T) this.look({ layer, head, row, column, name });
      };
      canvas.addEventListener("pointermove", at);
      canvas.addEventListener("pointerdown", at);
      canvas.addEventListener("pointerleave", () => this.look(null));
      this.figures.push({ layer, head, canvas, figure, toggle });
    }
    const columns = [4, 3, 2, 1].find((n) => heads % n === 0 && (n > 1 || heads === 1)) ?? 3; // whole layers, where that can be
    this.box.style.setProperty("--columns", columns);
    this.box.replaceChildren(...this.figures.map(({ figure }) => figure));
  }

  look(focus) {
    const { model } = this.run;
    this.pair.textContent = focus
      ? `${focus.name}: ${piece(model.ids[focus.row])} takes ${percent(model.looks(focus.layer, focus.head, focus.row)[focus.column] ?? 0)} of what it hears from ${piece(model.ids[focus.column])}.`
      : "Point at a square: the tokens above show where that row looks.";
    this.point(focus);
  }

  draw() {
    const { model } = this.run, T = model.ids.length, dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const [r, g, b] = dark ? [121, 178, 239] : [32, 92, 160], paper = dark ? [21, 24, 28] : [255, 255, 255];
    for (const { layer, head, canvas, figure, toggle } of this.figures) {
      const off = model.off.has(`${layer}.${head}`);
      figure.className = off ? "off" : "";
      toggle.ariaPressed = String(off);
      canvas.width = canvas.height = Math.max(T, 1);
      const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.height);
      for (let t = 0; t < T; t++) {
        const weights = model.looks(layer, head, t);
        for (let s = 0; s < T; s++) {
          const w = Math.sqrt(weights[s] ?? 0), at = 4 * (t * T + s); // the root: faint looks can be seen
          image.data.set([paper[0] + w * (r - paper[0]), paper[1] + w * (g - paper[1]), paper[2] + w * (b - paper[2]), 255], at);
        }
      }
      context.putImageData(image, 0, 0);
    }
    this.allOn.hidden = !model.off.size;
    if (!this.pair.textContent) this.look(null);
  }
}

// ---- An adapter, switched off or turned up -----------------------------------------------------------------------------

function adapterSlider(run, changed) {
  const names = [...new Set(Object.values(run.description.adapters ?? {}).flat().map(({ name }) => name))];
  if (!names.length) return null;
  const whole = Object.values(run.description.adapters).flat().some(({ kind }) => kind === "prompt" || kind === "prefix");
  const [label] = slider(`Adapter (${names.join(", ")})`, { min: 0, max: whole ? 1 : 1.5, step: whole ? 1 : 0.05 }, 1, (value) => {
    run.model.strength = value;
    changed(run);
  });
  return label;
}
