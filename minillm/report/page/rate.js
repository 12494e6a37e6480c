// The reader chooses between two answers of the model: preferences that `reward` and `dpo` learn from.

class RateView {
  constructor() {
    this.choices = []; // for each pair so far: 0, 1, or null where they were alike
    this.turned = data.pairs.map(() => Math.random() < 0.5); // which answer stands on the left
  }

  panels() {
    this.box = make("div");
    this.progress = make("p", { className: "small", ariaLive: "polite" });
    this.score = make("div");
    const rate = panel("Which letter is better?", "Two answers that the model gave to one prompt, in random order; what you choose is what a reward model, or DPO, can learn from.", lesson("21"), this.box, this.progress,
      make("div", { className: "row" }, button("Both alike", () => this.choose(null), { id: "alike" }), button("Undo", () => { this.choices.pop(); this.show(); }), (this.save = button("Download preferences.jsonl", () => this.download(), { className: "first", id: "download" }))));
    const agree = panel("How often did you agree?", "With the world, which knows how good each letter is; with a constitution, asked point by point; and with a reward model, if there is one.", lesson("24"), this.score);
    this.show();
    return [rate, agree];
  }

  recall() {}
  switchTo() { this.show(); }

  key_(event) {
    if (event.key === "1" || event.key === "2") this.choose(+event.key - 1);
    else if (event.key === "3") this.choose(null);
    else return;
    event.preventDefault();
  }

  choose(side) { // of the two that are shown
    if (this.choices.length >= data.pairs.length) return;
    const turned = this.turned[this.choices.length];
    this.choices.push(side === null ? null : turned ? 1 - side : side);
    this.show();
  }

  show() {
    const at = this.choices.length, pair = data.pairs[at], rated = this.choices.filter((side) => side !== null).length;
    this.save.disabled = !rated;
    this.save.classList.toggle("first", !pair);
    if (pair) {
      const shown = this.turned[at] ? [...pair.answers].reverse() : pair.answers;
      const answers = shown.map((text, i) => make("button", { type: "button", className: "choice", onclick: () => this.choose(i) }, make("b", { textContent: `${i + 1}` }), text || "(nothing)"));
      this.box.replaceChildren(make("p", { className: "asked", textContent: pair.prompt }), make("div", { className: "answers" }, ...answers));
    } else this.box.replaceChildren(make("p", {}, "That was the last pair. Download your choices, and let a model learn from them:"), make("pre", { textContent: data.learn }));
    this.progress.textContent = `${Math.min(at + 1, data.pairs.length)} of ${data.pairs.length}; ${rated} chosen.`;
    this.agreement();
  }

  agreement() {
    const rows = data.judges.map(({ name, scores }) => {
      const judged = this.choices.map((side, i) => [side, Math.sign(scores[i][0] - scores[i][1])]).filter(([side, sign]) => side !== null && sign);
      const same = judged.filter(([side, sign]) => (side === 0) === (sign > 0)).length;
      return { label: name, id: name, share: judged.length ? same / judged.length : undefined, said: judged.length ? `${same} of ${judged.length}` : "" };
    });
    const many = this.choices.filter((side) => side !== null).length;
    if (many < 3) return this.score.replaceChildren(make("p", { className: "small", textContent: "After three choices it is told." }));
    this.score.replaceChildren(make("div", { className: "bars" }, ...bars([{ colour: "model", of: (id) => rows.find((row) => row.id === id).share }], rows)),
      make("p", { className: "small", textContent: rows.map(({ label, said }) => `${label}: ${said}`).join("; ") + ". Pairs that a judge finds alike are left out; by chance it is one half." }));
  }

  get lines() {
    return this.choices.flatMap((side, i) => {
      if (side === null) return [];
      const { prompt, answers } = data.pairs[i], truth = data.judges.find(({ truth }) => truth)?.scores[i];
      const record = { prompt, chosen: answers[side], rejected: answers[1 - side] };
      return [JSON.stringify(truth ? { ...record, chosen_score: truth[side], rejected_score: truth[1 - side] } : record)];
    });
  }

  download() {
    const file = new Blob(this.lines.map((line) => line + "\n"), { type: "application/jsonl" }), address = URL.createObjectURL(file);
    make("a", { href: address, download: "preferences.jsonl" }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10000);
  }
}
