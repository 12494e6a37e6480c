// The views of models that read a text whole: hidden words restored, classes, tags, vectors, rewards.

class ReadingView {
  constructor() {
    [this.run] = runs;
    this.hidden = new Set(); // positions whose token is hidden
    this.picked = 0;
    this.focus = null;
  }

  get labels() { return data.labels; }

  panels() {
    this.row = new TokenRow((at) => this.pick(at), () => {});
    this.maps = new HeadMaps(() => this.again(), (focus) => { this.focus = focus; this.showTokens(); });
    this.fields = data.fields.map((name, i) => {
      const area = make("textarea", { className: data.fields.length > 1 ? "answer" : "", spellcheck: false, ariaLabel: name, id: i ? `text${i}` : "text" });
      let waiting;
      area.addEventListener("input", () => { this.hidden.clear(); clearTimeout(waiting); waiting = setTimeout(() => this.read(), this.run.heavy ? 500 : 0); });
      return [name, area];
    });
    const examples = choice("Examples", [["", "Examples…"], ...data.examples.map((texts, i) => [i, [texts].flat()[0].slice(0, 44) + "…"])], (i) => {
      if (i !== "") { this.fill([data.examples[i]].flat()); this.read(); }
      examples.value = "";
    });
    this.buttons = make("div", { className: "row" }, examples, adapterSlider(this.run, () => this.again()));
    this.problem = make("p", { className: "small", role: "alert" });
    this.answer = make("div");
    const form = make("section", {}, ...this.fields.map(([name, area]) => make("label", { className: "text" }, make("span", { textContent: name }), area)), this.buttons, this.problem);
    const tokens = panel("Tokens", this.says.tokens, lesson("02"), this.row.box);
    const answer = panel(this.says.title, this.says.answer, lesson(this.says.lesson), this.answer);
    const heads = this.run.model.looks ? [panel("Where each head looks", `A row is a token that reads, a column one that it looks at${this.run.model.config.causal ? "" : ", before or behind it"}; a head that is switched off adds nothing.`, lesson(this.run.model.config.causal ? "04" : "11"), this.maps.top, this.maps.box, this.maps.pair)] : [];
    if (!this.shared) return [form, answer];
    return [form, tokens, make("div", { className: "two" }, answer, ...heads)];
  }

  get shared() { return true; }
  get frame() { return data.frame; } // what stands before, between and behind texts, and whether they are numbered

  fill(texts) { this.fields.forEach(([, area], i) => { area.value = texts[i] ?? ""; }); this.hidden.clear(); }

  // Texts in their frame: [ids, segments].
  framed(texts) {
    const { begin, between, end, segments } = this.frame, ids = [...begin], numbers = begin.map(() => 0);
    texts.forEach((text, i) => {
      const own = [...tokenizer.encode(text), i + 1 < texts.length ? between : end];
      ids.push(...own);
      numbers.push(...own.map(() => i));
    });
    return [ids, segments ? numbers : []];
  }

  async read() {
    try {
      this.problem.textContent = "";
      [this.ids, this.segments] = this.framed(this.fields.map(([, area]) => area.value));
      const { context } = this.run.model.config;
      if (this.ids.length > context) { this.problem.textContent = `The model reads ${context} tokens at most; what is beyond is cut off.`; this.ids.length = context; }
    } catch (error) { return void (this.problem.textContent = error.message); }
    await this.compute();
  }

  async compute() {
    const seen = this.ids.map((id, at) => (this.hidden.has(at) ? tokenizer.mask : id));
    await pause();
    await this.run.read(seen, () => true, this.segments);
    this.picked = Math.min(this.picked, this.ids.length - 1);
    this.show();
  }

  again() { this.run.again(); return this.compute(); }
  pick(at) { this.picked = at; this.show(); }
  async recall() { this.fill([data.start].flat()); await this.read(); }
  key_() {}
  switchTo() {}

  look() { return { heat: 0, classes: [], below: "" }; } // of a token, for the views to fill

  showTokens() {
    const { focus } = this, looks = focus && this.run.model.looks(focus.layer, focus.head, focus.row);
    this.row.show(this.ids.map((id, at) => {
      const look = this.look(at), own = this.hidden.has(at) ? tokenizer.mask : id;
      const classes = [...look.classes, tokenizer.names.has(own) ? "special" : "", at === (focus ? focus.row : this.picked) ? "picked" : "", focus ? "seen" : ""].filter(Boolean);
      return { id: own, heat: focus ? looks[at] ?? 0 : look.heat, classes, below: look.below, title: look.title };
    }));
  }

  show() {
    this.showTokens();
    this.showAnswer();
    if (this.run.model.looks) this.maps.show(this.run);
  }

  get output() { return headOutputs(this.run.description.top, this.run.weights, this.run.model.hidden); }
}

class MaskView extends ReadingView {
  says = {
    tokens: "Click a token to hide it, and again to show it: the model has to say what stood there, from both sides.",
    title: "What stood there?", answer: "What the model puts in the place of the picked token; click a bar to fill it in.", lesson: "11",
  };

  panels() {
    const found = super.panels();
    this.buttons.append(button("Hide at random", () => { this.hidden.clear(); this.ids.forEach((id, at) => { if (!tokenizer.names.has(id) && Math.random() < 0.15) this.hidden.add(at); }); this.picked = [...this.hidden][0] ?? 0; this.compute(); }), button("Show all", () => { this.hidden.clear(); this.compute(); }));
    return found;
  }

  pick(at) { this.picked = at; if (!tokenizer.names.has(this.ids[at]) && !this.hidden.delete(at)) this.hidden.add(at); this.compute(); }

  async recall() {
    this.fill([data.start].flat());
    await this.read();
    const words = this.ids.map((id, at) => at).filter((at) => !tokenizer.names.has(this.ids[at]));
    for (const share of [0.3, 0.6, 0.9]) this.hidden.add(words[Math.floor(share * words.length)]);
    this.picked = words[Math.floor(0.3 * words.length)];
    return this.compute();
  }

  look(at) { // a hidden word: what the model thinks it was, and whether that is right
    if (!this.hidden.has(at)) return super.look(at);
    const chances = softmax(this.run.model.logits[at]), [best] = likeliest(chances, 1);
    return { heat: 1 - chances[this.ids[at]], classes: ["hidden-word"], below: `${piece(best)} ${best === this.ids[at] ? "✓" : "✗"}`, title: `it was ${piece(this.ids[at])}` };
  }

  showAnswer() {
    const at = this.picked, chances = softmax(this.run.model.logits[at]), was = this.ids[at];
    const series = [{ name: "the model", colour: "model", of: (id) => chances[id] }];
    const rows = likeliest(chances, 9, [was]).sort((a, b) => chances[b] - chances[a]).map((id) => ({ id, label: piece(id) + (id === was ? " ✓" : "") }));
    const right = [...this.hidden].filter((at) => likeliest(softmax(this.run.model.logits[at]), 1)[0] === this.ids[at]).length;
    this.answer.replaceChildren(
      make("p", { className: "small" }, this.hidden.has(at) ? "In the place of the hidden token; what stood there has a ✓:" : "The picked token is not hidden, so the model can see it:"),
      make("div", { className: "bars" }, ...bars(series, rows, (id) => { this.ids[at] = id; this.hidden.delete(at); this.compute(); })),
      make("p", { className: "small", textContent: this.hidden.size ? `${right} of ${this.hidden.size} hidden tokens restored.` : "" }));
  }
}

class ClassView extends ReadingView {
  says = {
    tokens: "What the model reads, its special tokens among it.",
    title: "Which class?", answer: "How likely each class is, from one vector for the whole text.", lesson: "12",
  };

  showAnswer() {
    const chances = softmax(this.output), rows = this.labels.map((label, id) => ({ label, id }));
    this.answer.replaceChildren(make("div", { className: "bars" }, ...bars([{ name: "the model", colour: "model", of: (id) => chances[id] }], rows)));
  }
}

class TagView extends ReadingView {
  says = {
    tokens: "Each token with the tag that the model gives it, by name and by colour; a word's tag is that of its first token.",
    title: "Which tag?", answer: "How likely each tag is for the picked token, from its own vector.", lesson: "12",
  };

  // A word's tag is that of its first token: what goes on within the word has it too.
  tagged(at) {
    const within = (at) => at > 0 && /^[\p{L}\p{N}]/u.test(tokenizer.piece(this.ids[at])) && /[\p{L}\p{N}]$/u.test(tokenizer.piece(this.ids[at - 1])) && !tokenizer.names.has(this.ids[at - 1]);
    let first = at;
    while (within(first)) first--;
    const chances = softmax(this.outputs[first]), [best] = likeliest(chances, 1);
    return { label: this.labels[best], p: chances[best], begins: first === at };
  }

  show() { this.outputs = this.output; super.show(); }

  look(at) {
    const { label, p, begins } = this.tagged(at);
    if (tokenizer.names.has(this.ids[at]) || label === "O") return { heat: 0, classes: [], below: "" };
    const kinds = [...new Set(this.labels.map((name) => name.replace(/^[BI]-/, "")).filter((name) => name !== "O"))];
    const tint = ["", "seen", "less"][kinds.indexOf(label.replace(/^[BI]-/, "")) % 3];
    return { heat: 0.3 + 0.4 * p, classes: [tint].filter(Boolean), below: begins ? label : "" };
  }

  showAnswer() {
    const chances = softmax(this.outputs[this.picked]), rows = this.labels.map((label, id) => ({ label, id })).sort((a, b) => chances[b.id] - chances[a.id]);
    this.answer.replaceChildren(make("p", { className: "small" }, "for ", make("code", { textContent: piece(this.ids[this.picked]) })),
      make("div", { className: "bars" }, ...bars([{ name: "the model", colour: "model", of: (id) => chances[id] }], rows)));
  }
}

class RewardView extends ReadingView {
  says = {
    tokens: "The conversation as the model reads it; coloured by what each token changed; below each pause the reward, if the answer ended there.",
    title: "How good is the answer?", answer: "The reward that the model gives the whole answer; only differences between answers to one prompt mean something.", lesson: "21",
  };

  framed([prompt, answer]) {
    const ids = template([{ role: "user", content: prompt }], true);
    this.opened = ids.length;
    this.picked = Infinity; // the end
    return [[...ids, ...tokenizer.encode(answer), tokenizer.eos], []];
  }

  rewardAt(at) { return headOutputs({ kind: "RewardModel", pooling: "last" }, this.run.weights, [this.run.model.hidden[at]])[0]; }

  look(at) {
    if (at < this.opened) return super.look(at);
    const change = this.rewardAt(at) - this.rewardAt(at - 1);
    return { heat: Math.min(1, Math.abs(change) / 2), classes: [change < 0 ? "" : "less"].filter(Boolean), below: /[.,!?]$/.test(tokenizer.piece(this.ids[at])) || at === this.ids.length - 1 ? this.rewardAt(at).toFixed(1) : "" };
  }

  showAnswer() {
    this.answer.replaceChildren(make("p", { className: "big", textContent: this.rewardAt(this.ids.length - 1).toFixed(3) }),
      make("p", { className: "small", textContent: "Green: the token raised the reward; orange: it lowered it." }));
  }
}

class VectorView extends ReadingView {
  says = {
    tokens: "", title: "How near are they?",
    answer: "Each text becomes one vector of length 1; a number is the cosine of the angle between two of them, 1 for the same direction.", lesson: "12",
  };

  get shared() { return false; }

  async read() {
    const texts = this.fields[0][1].value.split("\n").filter((text) => text.trim()), vectors = [];
    const asked = (this.asked = {});
    try {
      this.problem.textContent = "";
      for (const text of texts) {
        const [ids, segments] = this.framed([text]);
        await pause();
        if (asked !== this.asked) return;
        await this.run.read(ids.slice(0, this.run.model.config.context), () => true, segments);
        vectors.push(this.output);
      }
    } catch (error) { return void (this.problem.textContent = error.message); }
    const rows = vectors.map((one, i) => make("tr", {}, make("th", { scope: "row", textContent: `${i + 1}. ${texts[i].slice(0, 36)}${texts[i].length > 36 ? "…" : ""}` }),
      ...vectors.map((other) => { const like = dot(one, other); return make("td", { className: "like", style: { "--heat": Math.max(0, like).toFixed(3) }, textContent: like.toFixed(2) }); })));
    const head = make("tr", {}, make("th"), ...texts.map((_, i) => make("th", { scope: "col", textContent: i + 1 })));
    this.answer.replaceChildren(make("div", { className: "wide", tabIndex: 0 }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows))));
  }

  again() { this.run.again(); return this.read(); }
}

const READING = { mask: MaskView, classes: ClassView, tags: TagView, reward: RewardView, vectors: VectorView };
