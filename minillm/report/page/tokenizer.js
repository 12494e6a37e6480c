// Text to tokens and back: minillm/text over again, for one text.

// Bytes are written as characters of the codes 0 to 255, as in tokenizer.json of a run.
const bytesOf = (text) => Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
const textOf = (bytes) => utf8.decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)));

// A pattern as tiktoken has it, for JavaScript: whose \s is not Unicode's white space (it has U+FEFF and lacks U+0085),
// and which knows neither (?i:...) nor quantifiers that never give back.
function patternOf(pattern) {
  const anyCase = (letters) =>
    letters.replace(/[a-z]/g, (c) => `[${c}${c.toUpperCase()}${{ s: "\u017f", k: "\u212a" }[c] ?? ""}]`);
  const written = pattern
    .replace(/\(\?i:([^()]*)\)/g, (_, inside) => `(?:${anyCase(inside)})`)
    .replace(/([?*+]|\{\d*,?\d*\})\+/g, "$1")
    .replaceAll("\\s", "\\p{White_Space}")
    .replaceAll("\\S", "\\P{White_Space}");
  return new RegExp(written, "gu");
}

// GPT-2's: a run of letters, of digits or of anything else, with the space before it; then white space.
const WORDS = patternOf("'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+");

class Tokenizer {
  constructor(description) {
    Object.assign(this, description); // kind, tokens (id -> bytes), specials (name -> id), bos, eos, begin, stop ...
    this.names = new Map(Object.entries(this.specials).map(([name, id]) => [id, name]));
    this.ids = new Map();
    this.tokens.forEach((token, id) => token !== null && !this.names.has(id) && this.ids.set(token, id));
    this.memory = new Map(); // words that were encoded before
    if (this.kind === "bpe") this.words = patternOf(this.pattern);
    if (this.merges) this.ranks = new Map(this.merges.map(([a, b, joined], rank) => [a + "," + b, [rank, joined]]));
  }

  // The ids of a text, in which names of special tokens are plain text. first: the text begins here.
  encode(text, first = true) {
    if (this.kind === "characters") return this.characters(text);
    if (this.kind === "wordpiece") return this.wordPieces(text);
    if (this.normal) text = text.normalize(this.normal);
    if (this.prefix && first && text && !text.startsWith(" ")) text = " " + text;
    return (text.match(this.words) ?? []).flatMap((word) => {
      if (!this.memory.has(word)) this.memory.set(word, this.pairs(bytesOf(word)));
      return this.memory.get(word);
    });
  }

  // Byte pairs: of all neighbours that may be joined, the pair that was learned first; again, until none is left.
  pairs(word) {
    if (this.ids.has(word) && (!this.merges || this.whole)) return [this.ids.get(word)];
    const parts = Array.from(word, (byte) => this.ids.get(byte)).filter((id) => id !== undefined);
    for (;;) {
      let best = Infinity, at = -1, joined;
      for (let i = 0; i + 1 < parts.length; i++) {
        const [rank, id] = this.merge(parts[i], parts[i + 1]);
        if (rank < best) [best, at, joined] = [rank, i, id];
      }
      if (at < 0) return parts;
      parts.splice(at, 2, joined);
    }
  }

  merge(a, b) { // [rank, id] of two tokens joined. Ours have no list of merges: a token's id is its rank.
    if (this.ranks) return this.ranks.get(a + "," + b) ?? [Infinity];
    const id = this.ids.get(this.tokens[a] + this.tokens[b]);
    return [id ?? Infinity, id];
  }

  characters(text) { // one id each; what the tokenizer does not know is said, and not passed over
    return Array.from(text, (character) => {
      const id = this.ids.get(bytesOf(character));
      if (id === undefined) throw new RangeError(`this model does not know the character ${JSON.stringify(character)}`);
      return id;
    });
  }

  // WordPiece: the longest token that begins a word, then the longest that goes on, marked by ## (Wu et al. 2016).
  wordPieces(text) {
    const { clean, ideographs, accents, lower } = this.bert;
    if (clean) text = text.replace(/[\0\ufffd]|(?![\t\n\r])[\p{Cc}\p{Cf}\p{Co}]/gu, "").replace(/\p{White_Space}/gu, " ");
    if (ideographs) text = text.replace(/[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u{20000}-\u{2a6df}\u{2a700}-\u{2ceaf}\u{2f800}-\u{2fa1f}]/gu, " $& ");
    if (accents) text = text.normalize("NFD").replace(/\p{Mn}/gu, "");
    if (lower) text = Array.from(text, (character) => character.toLowerCase()).join("");
    return (text.match(/[\p{P}$+<=>^`|~]|[^\p{P}$+<=>^`|~\p{White_Space}]+/gu) ?? []).flatMap((word) => {
      const letters = Array.from(word), ids = [];
      if (letters.length > this.longest) return [this.unknown];
      for (let start = 0, end; start < letters.length; start = end) {
        const piece = () => this.ids.get((start ? "##" : "") + letters.slice(start, end).join(""));
        for (end = letters.length; end > start && piece() === undefined; end--);
        if (end === start) return [this.unknown];
        ids.push(piece());
      }
      return ids;
    });
  }

  decode(ids) {
    if (this.kind !== "wordpiece") return textOf(ids.map((id) => bytesOf(this.names.get(id) ?? "") || this.tokens[id]).join(""));
    return ids.map((id, i) => {
      const token = this.names.get(id) ?? this.tokens[id];
      const piece = i && token.startsWith("##") ? token.slice(2) : (i ? " " : "") + token;
      return this.tidies.reduce((text, [apart, together]) => text.replaceAll(apart, together), piece);
    }).join("");
  }

  // One token by itself, to look at: a byte that is only part of a character is shown as \xe2.
  piece(id) {
    const name = this.names.get(id);
    if (name !== undefined || this.kind === "wordpiece") return name ?? this.tokens[id];
    const bytes = this.tokens[id] ?? "", text = textOf(bytes);
    const hidden = (byte) => "\\x" + byte.charCodeAt(0).toString(16).padStart(2, "0");
    return text.includes("\ufffd") ? bytes.replace(/[^\x20-\x7e]/g, hidden) : text;
  }
}
