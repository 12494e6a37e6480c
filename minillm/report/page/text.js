// The view of a model that continues texts: tokens, what comes next, heads, layers; and the same in a conversation.

class TextView {
  constructor() {
    this.ids = [];
    this.picked = 0;      // the token whose successor is shown
    this.speaks = runs[0]; // whose tokens are drawn, whose heads are shown
    this.asked = 0;       // how many texts were asked for: a later one overtakes
    this.focus = null;    // the row of a head's map under the pointer
    this.messages = [];
    this.talking = false;
    this.exact = [];      // [position]: the world's surprise
  }

  get first() { return tokenizer.begin.length ? tokenizer.begin : []; }

  // ---- What is there

  panels() {
    this.row = new TokenRow((at) => this.pick(at), (at) => this.tell(at < 0 ? this.picked : at));
    this.maps = new HeadMaps((run) => this.anew(run), (focus) => { this.focus = focus; this.showTokens(); });
    const second = runs[1] && [["second", `surprise of ${runs[1].name}`], ["difference", `${runs[1].name} beyond ${runs[0].name}`]];
    this.colour = choice("Colour of the tokens", [["model", `surprise of ${runs[1] ? runs[0].name : "the model"}`], ...(second ?? []),
      ...(world ? [["world", "surprise of the world itself"], ["more", "the model's beyond the world's"]] : []), ["none", "nothing"]], () => this.showTokens());
    this.numbers = make("input", { type: "checkbox", onchange: () => this.showTokens() });
    this.idsShown = make("input", { type: "checkbox", onchange: () => this.showTokens() });
    this.told = make("div", { className: "told", ariaLive: "polite" });
    this.sums = make("div", { className: "sums" });
    this.after = make("span");
    this.bars = make("div", { className: "bars" });
    this.rest = make("p", { className: "small" });
    this.lens = make("div", { className: "wide", tabIndex: 0 });
    const tokens = panel("Tokens", "What the model reads: each piece of the text, coloured by how little it was expected; click one to ask what follows it.", lesson("02"),
      make("div", { className: "row top" }, make("label", {}, "coloured by ", this.colour), this.scale = make("span", { className: "small" }),
        make("label", {}, this.numbers, "numbers"), make("label", {}, this.idsShown, "ids")),
      this.row.box, this.told, this.sums);
    const next = panel("What comes next", world
      ? "The model's probabilities, and beside them those of the world that wrote its texts, exactly; click a bar to take that token."
      : "The likeliest tokens; click a bar to take one.", lesson("05"), this.key = make("div"), this.after, this.bars, this.rest);
    const parts = [this.composer(), tokens, make("div", { className: "two" }, next, this.headPanel())];
    if (runs.some(({ model }) => model.lens)) {
      parts.push(panel("Layer by layer", "The logit lens: what the model would say behind each layer, if that were its last; the shade is the probability.", lesson("04"), this.lens));
    }
    return parts;
  }

  headPanel() {
    if (!this.speaks.model.looks) {
      return panel("No attention", `${this.speaks.name} is ${this.speaks.description.kind === "BigramLM" ? "a table of pairs: it sees one token" : "a recurrent network: all that it knows of the past is one state"}, so there are no heads to show.`, lesson("01"));
    }
    return panel("Where each head looks", "A row is a token that reads, a column one that it looks at; a head that is switched off adds nothing.", lesson("04"),
      this.maps.top, this.maps.box, this.maps.pair);
  }

  composer() {
    this.text = make("textarea", { id: "text", spellcheck: false, autocapitalize: "off", placeholder: "Write something, or press “Next token”.", ariaLabel: "The text that the model reads" });
    let waiting;
    this.text.addEventListener("input", () => { this.stop(); clearTimeout(waiting); waiting = setTimeout(() => this.read(this.text.value), runs.some(({ heavy }) => heavy) ? 400 : 0); });
    this.text.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.next(); } });
    const examples = choice("Examples", [["", "Examples…"], ...data.examples.map((text, i) => [i, visible(text).replaceAll("·", " ").slice(0, 44) + "…"])], (i) => {
      if (i !== "") { this.text.value = data.examples[i]; this.read(data.examples[i]); }
      examples.value = "";
    });
    this.writing = make("div", {}, make("label", { className: "text" }, make("span", { textContent: "The text" }), this.text));
    this.go = button("Run", () => this.run(), { id: "go" });
    this.problem = make("p", { className: "small", role: "alert" });
    const change = () => { this.showBars(); this.remember(); };
    const [heat, temperature] = slider("Temperature", { min: 0, max: 2, step: 0.05, id: "temperature" }, 1, change);
    const [kk, topK] = slider("Top-k", { min: 0, max: 50, step: 1, id: "topk" }, 0, change);
    const [pp, topP] = slider("Top-p", { min: 0.05, max: 1, step: 0.05, id: "topp" }, 1, change);
    this.sampling = { temperature, topK, topP };
    const who = runs.length > 1 ? [make("label", {}, "continued by ", choice("Whose tokens are drawn", runs.map(({ name }, i) => [i, name]), (i) => {
      this.speaks = runs[i];
      this.show();
    }))] : [];
    this.steps = make("div", { className: "row" },
      button("Next token", () => this.next(), { className: "first", id: "next" }), this.go,
      button("Back", () => this.back(), { id: "back" }), button("Clear", () => this.empty(), { id: "clear" }), examples, ...who);
    return make("section", {}, this.writing, this.conversation(), this.steps, make("div", { className: "row" }, heat, kk, pp, ...runs.map((run) => adapterSlider(run, (run) => this.anew(run)))), this.problem);
  }

  // ---- Tokens go in

  read(text) {
    try {
      this.problem.textContent = "";
      const ids = [...this.first, ...tokenizer.encode(text)];
      return this.set(ids.length ? ids : [tokenizer.bos]);
    } catch (error) { // a tokenizer of characters meets one that it does not know
      this.problem.textContent = error.message;
    }
  }

  async set(found, at) {
    const context = Math.min(...runs.map(({ model }) => model.config.context ?? 1024)), mine = ++this.asked;
    if (found.length > context) this.problem.textContent = `The model reads ${context} tokens at most; what is beyond is cut off.`;
    found = found.slice(0, context);
    for (const run of runs) if (!(await run.read(found, () => mine === this.asked))) return;
    if (mine !== this.asked) return;
    this.keep(found);
    this.picked = Math.min(at ?? found.length - 1, found.length - 1);
    this.focus = null;
    this.show();
  }

  keep(found) { // what is known of the tokens before the first that is another stays
    let same = 0;
    while (same < found.length && this.ids[same] === found[same]) same++;
    this.exact.length = Math.min(this.exact.length, same);
    this.ids = found;
  }

  pick(at) { this.picked = Math.max(0, Math.min(at, this.ids.length - 1)); this.show(); }

  async take(id) { // put a token behind the picked one
    if (this.ended || this.picked + 1 >= (this.speaks.model.config.context ?? 1024)) return this.stop();
    await this.set([...this.ids.slice(0, this.picked + 1), id]);
    this.say();
    this.remember();
  }

  get ended() { return this.picked >= this.first.length && tokenizer.stop.includes(this.ids[this.picked]) && this.picked > 0; }
  get settings() { const { temperature, topK, topP } = this.sampling; return [+temperature.value, +topK.value, +topP.value]; }

  async next() { if (this.speaks.model.logits[this.picked]) await this.take(draw(filtered(this.speaks.model.logits[this.picked], ...this.settings))); }

  back() {
    this.stop();
    const least = this.talking ? this.opened : Math.max(1, this.first.length);
    if (this.ids.length > least) this.set(this.ids.slice(0, -1)).then(() => { this.say(); this.remember(); });
  }

  empty() {
    this.stop();
    if (this.talking) return this.startAgain();
    this.text.value = "";
    return this.read("");
  }

  // Tokens until the text ends: as many for a picture as there is time for.
  async run() {
    if (this.running) return this.stop();
    this.running = true;
    this.go.textContent = "Stop";
    const { model, heavy } = this.speaks, context = model.config.context ?? 1024, ids = this.ids.slice(0, this.picked + 1);
    const ended = () => ids.length >= context || (ids.length > this.first.length && ids.length > 1 && tokenizer.stop.includes(ids.at(-1)));
    let showing = 0; // ms that the last tokens took to be shown: a sixth of the time goes into it, or half if it is slow
    while (this.running && !ended()) {
      const until = performance.now() + Math.min(250, Math.max(40, 5 * showing));
      do {
        ids.push(draw(filtered(model.logits[ids.length - 1], ...this.settings)));
        if (!heavy) for (const run of runs) await run.read(ids);
        if (!heavy) this.worldAfter(ids.length - 1, ids);
      } while (!ended() && performance.now() < until && !heavy);
      const computed = performance.now();
      await this.set([...ids]);
      this.say();
      await new Promise((resolve) => (document.hidden ? setTimeout(resolve) : requestAnimationFrame(resolve)));
      showing = performance.now() - computed;
      if (this.ids.length !== ids.length) break; // somebody has typed meanwhile
    }
    this.stop();
    this.remember();
  }

  say() { // the text, or the conversation, as far as the tokens go
    if (this.talking) return this.hear();
    this.text.value = tokenizer.decode(this.ids.slice(this.first.length).filter((id) => !tokenizer.stop.includes(id)));
  }

  stop() { this.running = false; if (this.go) this.go.textContent = "Run"; }

  async anew(run) { // its adapter or heads have changed: read all again
    run.again();
    const at = this.picked;
    await this.set(this.ids, at);
  }

  // ---- What is shown

  worldAfter(position, ids = this.ids) { // the world's probabilities behind a token; empty where it is not the world's
    const begin = this.first.length;
    return world && !this.talking && position + 1 >= begin ? world.after(ids.slice(begin, position + 1)) : new Map();
  }

  worldSurprise(position) { // NaN: unknown; Infinity: impossible here
    if (!world || this.talking || position < Math.max(this.first.length, 1)) return NaN;
    if (this.exact[position] === undefined) {
      const chances = Number.isFinite(this.exact[position - 1] ?? 0) ? this.worldAfter(position - 1) : new Map();
      this.exact[position] = chances.size ? -Math.log(chances.get(this.ids[position]) ?? 0) : NaN;
    }
    return this.exact[position];
  }

  slip() { // the first token that the world cannot have written, or -1; an unfinished last word may still become one
    if (!world || this.talking) return -1;
    for (let t = this.first.length; t < this.ids.length; t++) {
      const exact = this.worldSurprise(t);
      if (exact === Infinity) return this.unfinished(t) ? -1 : t;
      if (Number.isNaN(exact)) return -1;
    }
    return -1;
  }

  unfinished(t) { // only the last word is in doubt, and some word of the world begins so
    const text = tokenizer.decode(this.ids.slice(this.first.length)), start = Math.max(text.lastIndexOf(" "), text.lastIndexOf("\n")) + 1;
    const before = tokenizer.decode(this.ids.slice(this.first.length, t));
    return before.length >= start - 1 && /^[\p{L}]*$/u.test(text.slice(start)) && this.begins(text);
  }

  begins(text) { // whether some document of the world begins with this text, whatever its tokens
    let found = false;
    world.text = text;
    world.found = () => { found = true; };
    world.tale(world.root, "", {}, 1);
    if (!found) world.patterns(1);
    return found;
  }

  show() {
    const run = this.speaks;
    this.slipped = this.slip();
    this.showTokens();
    this.tell(this.picked);
    this.showBars();
    if (run.model.looks) this.maps.show(run);
    this.showLens();
    this.remember();
  }

  measure(position) { // what colours a token: [value, full at, class]
    const [one, two] = runs, kind = this.colour.value;
    if (position < Math.max(1, this.first.length)) return [0, 1];
    if (kind === "model") return [one.surprise(position), 6];
    if (kind === "second") return [two.surprise(position), 6];
    if (kind === "world") return [this.worldSurprise(position), 6];
    if (kind === "difference") return [two.surprise(position) - one.surprise(position), 2];
    if (kind === "more") return [one.surprise(position) - this.worldSurprise(position), 1];
    return [0, 1];
  }

  showTokens() {
    const { focus, slipped } = this, looks = focus && this.speaks.model.looks(focus.layer, focus.head, focus.row);
    this.row.show(this.ids.map((id, position) => {
      const [value, full] = this.measure(position), classes = [];
      if (tokenizer.names.has(id)) classes.push("special");
      if (position === (focus ? focus.row : this.picked)) classes.push("picked");
      if (position === slipped) classes.push("slip");
      if (slipped >= 0 && position > slipped) classes.push("later");
      if (focus) classes.push("seen");
      else if (value < 0) classes.push("less");
      const heat = focus ? (looks[position] ?? 0) : Math.min(1, Math.abs(value) / full || 0);
      const shown = [this.numbers.checked && position >= this.first.length ? nats(focus ? looks[position] ?? 0 : value) : "", this.idsShown.checked ? String(id) : ""];
      return { id, heat, classes, below: shown.filter(Boolean).join("\n") };
    }));
    const [, full] = this.measure(this.ids.length - 1);
    this.scale.replaceChildren(...(this.colour.value === "none" ? [] : ["0 ", make("span", { className: "scale" }), ` ${this.ids.length > 1 ? full : 6} nats`]));
  }

  tell(position) {
    const id = this.ids[position], name = make("b", { textContent: piece(id) });
    if (position < Math.max(1, this.first.length)) this.told.replaceChildren(name, ` (id ${id}) begins every text; nothing predicts it.`);
    else {
      const said = runs.map((run) => {
        const surprise = run.surprise(position), chances = run.model.logits[position - 1], mine = chances[id];
        let rank = 1;
        for (const other of chances) if (other > mine) rank++;
        return `${runs.length > 1 ? run.name : "the model"} ${nats(surprise)} nats (${percent(Math.exp(-surprise))}, rank ${rank})`;
      });
      const exact = this.worldSurprise(position);
      const truth = Number.isNaN(exact) ? "" : exact === Infinity ? "; in the world it is impossible here" : `; the world itself ${nats(exact)}`;
      this.told.replaceChildren(name, ` id ${id}, token ${position}. Surprise: ${said.join("; ")}${truth}.`);
    }
    if (this.slipped >= 0) {
      this.told.append(make("div", { className: "slipped", textContent: `✗ The world cannot have written this, from ${piece(this.ids[this.slipped])} (token ${this.slipped}) on.` }));
    }
    this.showSums();
  }

  showSums() { // the whole text
    const begin = Math.max(1, this.first.length), count = this.ids.length - begin;
    if (count < 1) return this.sums.replaceChildren();
    const mean = (of) => { let sum = 0; for (let t = begin; t < this.ids.length; t++) sum += of(t); return sum / count; };
    const losses = runs.map((run) => [run.name, mean((t) => run.surprise(t))]);
    const floor = world && !this.talking && this.slipped < 0 ? mean((t) => this.worldSurprise(t)) : NaN;
    const rows = losses.map(([name, loss]) => [runs.length > 1 ? `loss of ${name}` : "loss of the model", loss]);
    if (Number.isFinite(floor)) rows.push(["of the world", floor], ["gap", losses[0][1] - floor]);
    this.sums.replaceChildren(make("span", { textContent: `${count} token${count > 1 ? "s" : ""}, nats per token:` }),
      ...rows.map(([name, value]) => make("span", {}, `${name} `, make("b", { textContent: value.toFixed(3) }))));
  }

  showBars() {
    const at = this.picked, exact = this.worldAfter(at), how = this.settings;
    if (!this.speaks.model.logits[at]) return;
    const kept = runs.map((run) => filtered(run.model.logits[at], ...how)), raw = softmax(this.speaks.model.logits[at]);
    const series = runs.map((run, i) => ({ name: runs.length > 1 ? run.name : "the model", colour: COLOURS[i], of: (id) => kept[i][id] }));
    if (exact.size) series.push({ name: `the world, exactly (${exact.size} possible)`, colour: "world", of: (id) => exact.get(id) });
    const most = (id) => Math.max(...series.map(({ of }) => of(id) ?? 0));
    const likely = this.ended ? [] : likeliest(raw, 12, [...exact.keys()].slice(0, 12), kept).sort((a, b) => most(b) - most(a) || raw[b] - raw[a]).slice(0, 10);
    const rows = likely.filter((id, i) => i < 3 || most(id) > 0.0005 || raw[id] > 0.0005).map((id) => ({ label: piece(id), id, cut: !kept[runs.indexOf(this.speaks)][id], title: `id ${id}: take it` }));
    this.key.replaceChildren(keyOf(series));
    this.after.replaceChildren(make("p", { className: "small" }, "after ", make("code", { textContent: piece(this.ids[at]) }), ":",
      world && !this.talking && !exact.size && !this.ended ? " the world does not know this text" : ""));
    this.bars.replaceChildren(...bars(series, rows, (id) => { this.stop(); this.take(id); }));
    if (this.ended) return void (this.rest.textContent = "The text has ended here.");
    const shown = rows.reduce((sum, { id }) => sum + kept[0][id], 0), left = kept[0].reduce((sum, p) => sum + (p > 0), 0);
    this.rest.textContent = `${percent(Math.max(0, 1 - shown))} on all others; ${left} of ${raw.length} can be drawn. Entropy: `
      + series.map(({ name }, i) => `${name.replace(/, exactly.*/, "")} ${(i < runs.length ? entropyOf(kept[i]) : entropyOf(exact.values())).toFixed(2)}`).join(", ") + " nats.";
  }

  showLens() {
    const { model } = this.speaks;
    if (!model.lens) return this.lens.replaceChildren();
    if (this.speaks.heavy) { // as many products as a token takes: only when asked
      return this.lens.replaceChildren(button("Compute it for the picked token", () => this.fillLens()));
    }
    this.fillLens();
  }

  fillLens() {
    const layers = this.speaks.model.lens(this.picked), names = layers.map((_, i) => (i ? `layer ${i}` : "embedding"));
    const body = layers.map((logits, i) => {
      const chances = softmax(logits);
      return make("tr", {}, make("th", { scope: "row", textContent: names[i] }), ...likeliest(chances, 5).map((id) =>
        make("td", { className: "lens", style: { "--heat": chances[id].toFixed(3) } }, make("code", { textContent: piece(id) }), " ", make("small", { textContent: percent(chances[id]) }))));
    });
    this.lens.replaceChildren(make("table", { ariaLabel: "The likeliest tokens behind each layer" }, make("tbody", {}, ...body)));
  }

  // ---- The address holds the text

  remember() {
    if (this.running) return;
    const [t, k, p] = this.settings, state = { text: this.text.value, t, k, p, at: this.picked };
    if (!this.talking) history.replaceState(null, "", "#" + new URLSearchParams(state));
  }

  recall(address) {
    const said = new URLSearchParams(address.replace(/^#/, "")), { temperature, topK, topP } = this.sampling;
    for (const [name, input] of [["t", temperature], ["k", topK], ["p", topP]]) if (said.has(name)) input.set(said.get(name));
    this.text.value = said.get("text") ?? data.start;
    const at = parseInt(said.get("at"), 10);
    this.read(this.text.value)?.then(() => { if (at >= 0 && at < this.ids.length) this.pick(at); });
  }

  key_(event) { // keys outside of a text field
    const keys = {
      ArrowRight: () => { this.stop(); this.next(); }, ArrowLeft: () => this.back(), " ": () => this.run(), Escape: () => this.stop(),
      "[": () => this.pick(this.picked - 1), "]": () => this.pick(this.picked + 1),
    };
    const bar = this.bars.children[event.key - 1];
    if (keys[event.key]) keys[event.key]();
    else if (/^[1-9]$/.test(event.key) && bar) bar.click();
    else return;
    event.preventDefault();
  }

  // ---- A conversation: its template becomes tokens like any others

  conversation() {
    if (!data.chat) return null;
    this.talk = make("div", { className: "talk", ariaLive: "polite" });
    this.question = make("textarea", { className: "answer", placeholder: "Ask something", ariaLabel: "Your message" });
    this.question.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); this.ask(); } });
    let waiting = 0;
    this.question.addEventListener("input", () => {
      clearTimeout(waiting);
      if (!this.messages.length) waiting = setTimeout(() => !this.messages.length && this.open(), runs.some(({ heavy }) => heavy) ? 400 : 0);
    });
    const prompts = choice("Example questions", [["", "Example questions…"], ...data.chat.examples.map((text, i) => [i, text.replaceAll("\n", " ").slice(-46)])], (i) => {
      if (i !== "") this.question.value = data.chat.examples[i];
      prompts.value = "";
      if (!this.messages.length) this.open();
    });
    this.talkBox = make("div", { hidden: true }, this.talk, this.question,
      make("div", { className: "row" }, button("Ask", () => this.ask(), { className: "first", id: "ask" }), button("New conversation", () => this.startAgain()), prompts));
    return this.talkBox;
  }

  switchTo(talking) {
    this.stop();
    this.talking = talking;
    this.exact = [];
    this.writing.hidden = talking;
    this.steps.querySelector("select").hidden = talking;
    this.steps.querySelector("#next").classList.toggle("first", !talking);
    if (this.talkBox) this.talkBox.hidden = !talking;
    if (talking) return this.messages.length ? this.open() : this.startAgain();
    return this.read(this.text.value);
  }

  startAgain() {
    this.messages = [];
    this.question.value ||= data.chat.examples[0] ?? "";
    this.showTalk();
    return this.open();
  }

  async ask() {
    const content = this.question.value.trim();
    if (!content) return;
    this.stop();
    this.messages.push({ role: "user", content });
    this.question.value = "";
    await this.open();
    this.messages.push({ role: "assistant", content: "" });
    this.showTalk();
    return this.run();
  }

  open() { // the conversation so far as tokens; they end where the assistant is to speak. Before it, what is about to be asked
    const draft = this.question.value.trim();
    const ids = template(this.messages.length || !draft ? this.messages : [{ role: "user", content: draft }], true);
    this.opened = ids.length;
    return this.set(ids);
  }

  hear() { // what the assistant has said so far
    const last = this.messages.at(-1), said = this.ids.slice(this.opened).filter((id) => !tokenizer.stop.includes(id));
    if (last?.role !== "assistant") this.messages.push({ role: "assistant", content: "" });
    this.messages.at(-1).content = tokenizer.decode(said);
    this.showTalk();
  }

  showTalk() {
    const nobody = make("p", { className: "says", textContent: "Nobody has said anything yet. Below is how the model will read the question, in its template of special tokens." });
    this.talk.replaceChildren(...(this.messages.length ? this.messages.map(({ role, content }) =>
      make("div", { className: `turn ${role}` }, make("b", { textContent: role === "user" ? "you" : this.speaks.name }), content)) : [nobody]));
    this.talk.scrollTop = this.talk.scrollHeight;
  }
}

// The likeliest ids, with some that are wanted anyhow.
function likeliest(chances, count, wanted = [], others = []) {
  const found = new Set(wanted);
  for (const list of [chances, ...others]) {
    const best = []; // small, and in order
    for (let id = 0; id < list.length; id++) {
      if (best.length < count || list[id] > list[best.at(-1)]) {
        let at = best.length;
        while (at && list[best[at - 1]] < list[id]) at--;
        best.splice(at, 0, id);
        if (best.length > count) best.pop();
      }
    }
    best.forEach((id) => found.add(id));
  }
  return [...found];
}

// A conversation as ids (minillm/text/chat_template.py): text between two special tokens is encoded in one, but what the
// assistant says by itself.
function template(messages, reply) {
  const { first, user, assistant, open } = data.chat, ids = [], said = { text: "", learned: false };
  const flush = () => { if (said.text) ids.push(...tokenizer.encode(said.text, ids.length === 0)); said.text = ""; };
  const put = (pieces, content) => {
    for (const [kind, value] of pieces) {
      const learned = kind === "learned";
      if (kind === "id" || learned !== said.learned) flush();
      said.learned = learned;
      if (kind === "id") ids.push(value);
      else said.text += kind === "text" ? value : content;
    }
  };
  messages.forEach(({ role, content }, i) => put(role === "assistant" ? assistant : i ? user : first, content));
  if (reply) put(messages.length ? open : data.chat.opening);
  flush();
  return ids;
}
