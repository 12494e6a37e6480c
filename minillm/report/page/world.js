// The exact world: every way on from a text is followed to the end of its next word, weighed and encoded. It is
// minillm/tales/next_token.py over again. The tales are a graph of sentences (minillm/tales/grammar.py), the patterns
// are told here; a test holds the probabilities equal to Python's.

const END = "\x03"; // the end of a document, as a character

class World {
  constructor(grammar, tokenizer) {
    Object.assign(this, grammar);
    this.tokenizer = tokenizer;
    this.memory = new Map(); // what was asked before
    this.female = new Set(grammar.she);
    this.sentences = grammar.nodes.map((forms) => {
      const total = forms.reduce((sum, [weight]) => sum + weight, 0);
      return forms.map(([weight, form, next]) => ({ share: weight / total, next, pieces: form.split(/\{(.*?)\}/) }));
    });
  }

  // Map of id -> probability of the token behind `ids`, a document from its begin; empty where no document begins so.
  after(ids) {
    const key = ids.join();
    if (!this.memory.has(key)) {
      if (this.memory.size > 4000) this.memory.clear();
      this.memory.set(key, this.weigh(ids));
    }
    return this.memory.get(key);
  }

  weigh(ids) {
    const { eos } = this.tokenizer, chances = new Map();
    if (ids.includes(eos)) return chances;
    let total = 0;
    for (const [written, p] of this.waysOn(this.tokenizer.decode(ids))) { // which token does it put behind `ids`?
      const ends = written.endsWith(END), all = this.tokenizer.encode(ends ? written.slice(0, -1) : written);
      if (ends) all.push(eos);
      if (all.length <= ids.length || !ids.every((id, i) => id === all[i])) continue;
      chances.set(all[ids.length], (chances.get(all[ids.length]) ?? 0) + p);
      total += p;
    }
    return new Map([...chances].map(([id, p]) => [id, p / total]).sort((a, b) => b[1] - a[1]));
  }

  // [text, probability] of every way on from a text; those of a shorter text, as long as they reach.
  waysOn(text) {
    const before = this.ways ?? { text: "\0", found: [] };
    this.text = text;
    if (text.startsWith(before.text)) {
      const left = before.found.filter(([written]) => written.startsWith(text));
      if (left.length && left.every(([written]) => written.length > text.length && this.fixesNext(written))) return left;
    }
    const ways = [], all = this.mix.tale + this.mix.pattern;
    this.found = (written, p) => ways.push([written, p]);
    this.tale(this.root, "", {}, this.mix.tale / all);
    this.patterns(this.mix.pattern / all);
    this.ways = { text, found: ways };
    return ways;
  }

  // Go on with `more` behind `written`, if the text goes on so or has ended; stop where the next token is certain.
  say(written, more, p, then) {
    const { text } = this, longer = written + more;
    if (longer.length <= text.length ? !text.startsWith(more, written.length) : !longer.startsWith(text)) return;
    if (longer.length > text.length && this.fixesNext(longer)) this.found(longer, p);
    else then(longer);
  }

  fixesNext(written) { // the word that goes on behind the text is whole, and another character follows it
    if (written.endsWith(END) || this.tokenizer.kind === "characters") return true;
    const from = Math.max(0, this.text.lastIndexOf(" ", this.text.length - 2));
    let end = from;
    for (const [word] of written.slice(from).matchAll(WORDS)) {
      end += word.length;
      if (end > this.text.length) return end < written.length;
    }
    return false;
  }

  tale(node, written, known, p) {
    if (node < 0) return this.say(written, END, p, () => {});
    for (const { share, next, pieces } of this.sentences[node]) {
      const start = written ? " " + pieces[0] : pieces[0];
      this.say(written, start, p * share, (longer) => this.slots(pieces, 1, next, longer, known, p * share));
    }
  }

  // The slots of a sentence: {hero.home} is drawn at its first mention, and recalled ever after.
  slots(pieces, i, next, written, known, p) {
    if (i >= pieces.length) return this.tale(next, written, known, p);
    const [role, name] = pieces[i].split("."), aspect = name.replace(/^a_/, ""), slot = `${role}.${aspect}`;
    const article = (word) => (name === aspect ? word : (/^[aeiou]|^honest$/.test(word) ? "an " : "a ") + word);
    const on = (word, known, p) =>
      this.say(written, word, p, (longer) =>
        this.say(longer, pieces[i + 1], p, (longest) => this.slots(pieces, i + 2, next, longest, known, p)));
    if (name in this.pronouns) {
      const who = known[`${role}.name`], she = this.female.has(who) || who.startsWith("Mrs ");
      return on(this.pronouns[name][+she].trim(), known, p);
    }
    if (slot in known) return on(article(known[slot]), known, p);
    const pool = this.pools[slot] ?? this.pools[aspect];
    for (const word of pool) on(article(word), role === "mood" ? known : { ...known, [slot]: word }, p / pool.length);
  }

  patterns(p) {
    const relations = Object.values(this.relations), groups = Object.keys(this.groups), { game } = this;
    for (const pairs of relations) this.relation(pairs, Object.keys(pairs), "", 1, (p * (1 - game)) / relations.length);
    for (const group of groups) this.game_(group, {}, this.groups, "", 1, (p * game) / groups.length);
  }

  relation(pairs, rest, written, line, p) { // "fox : den": a word not used yet, and what goes with it
    const q = p / rest.length;
    for (const word of rest) {
      this.say(written, `${word} : ${pairs[word]}`, q, (longer) =>
        this.more(longer, line, q, (longest, r) =>
          this.relation(pairs, rest.filter((other) => other !== word), longest, line + 1, r)));
    }
  }

  game_(group, labels, rest, written, line, p) { // "fox = north": a word of a group, and the label of that group
    const words = rest[group], free = this.labels.filter((label) => !Object.values(labels).includes(label));
    for (const word of words) {
      const q = p / words.length;
      this.say(written, `${word} = `, q, (longer) => {
        for (const label of group in labels ? [labels[group]] : free) {
          const r = group in labels ? q : q / free.length, now = { ...labels, [group]: label };
          this.say(longer, label, r, (longest) => this.more(longest, line, r, (last, s) => {
            const left = { ...rest, [group]: words.filter((other) => other !== word) };
            const others = Object.keys(now).length === 2 ? [] : Object.keys(left).filter((name) => !(name in now));
            for (const name of Object.keys(now)) this.game_(name, now, left, last, line + 1, s / 2);
            for (const name of others) this.game_(name, now, left, last, line + 1, s / 2 / others.length);
          }));
        }
      });
    }
  }

  more(written, line, p, then) { // every number of lines is equally likely
    const [least, most] = this.lines, stop = line < least ? 0 : 1 / (most - line + 1);
    if (stop) this.say(written, END, p * stop, () => {});
    if (stop < 1) this.say(written, "\n", p * (1 - stop), (longer) => then(longer, p * (1 - stop)));
  }
}
