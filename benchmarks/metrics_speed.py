"""Seconds to score texts: minillm.metrics against rouge-score and sacrebleu, on the same texts.

    python benchmarks/metrics_speed.py --texts 500

Every run is a process of its own, ours and theirs in turn. The references are tales, the candidates the same tales
with words lost, doubled and replaced; both sides have the same in each turn. Seconds are those of scoring, texts in
memory and everything imported. "again" scores the same texts once more, with whatever either side remembers of them.
That both find the same scores is checked by tests/metrics, not here.
"""

import random
import re
import time
from pathlib import Path

from side_by_side import flags, main, median

from minillm.tales import data_file

NAMES = {"ours": "minillm.metrics", "theirs": "rouge-score, sacrebleu"}
KINDS = [1, 2, "L", "Lsum"]


def spoiled(rng: random.Random, text: str, words: list[str]) -> str:
    """A text of which about a fifth of the words are lost, doubled or others."""
    made = []
    for word in text.split(" "):
        made += rng.choice([[], [word, word], [rng.choice(words)]]) if rng.random() < 0.2 else [word]
    return " ".join(made)


def pairs(path: Path, count: int, seed: int) -> tuple[list[str], list[str]]:
    """References, a sentence a line, and candidates."""
    text = path.read_text(encoding="utf-8")
    tales = [re.sub(r"([.?!]) ", r"\1\n", tale) for tale in text.split("\n\n") if len(tale) > 200]
    rng, words = random.Random(seed), text.split()
    references = [tales[i % len(tales)] for i in range(count)]
    return references, [spoiled(rng, tale, words) for tale in references]


def ours() -> dict:
    """What is timed, by name: functions of references and candidates."""
    from minillm import metrics

    rouge = {1: lambda r, c: metrics.rouge_n(r, c, 1), 2: lambda r, c: metrics.rouge_n(r, c, 2)}
    rouge |= {"L": metrics.rouge_l, "Lsum": metrics.rouge_lsum}
    return {
        "ROUGE-1 and 2": lambda rs, cs: [rouge[kind](r, c) for r, c in zip(rs, cs) for kind in (1, 2)],
        "ROUGE-1, 2, L, Lsum": lambda rs, cs: [rouge[kind](r, c) for r, c in zip(rs, cs) for kind in KINDS],
        "BLEU": lambda rs, cs: metrics.bleu(cs, rs),
        "sentence BLEU": lambda rs, cs: [metrics.sentence_bleu(c, r) for r, c in zip(rs, cs)],
    }


def theirs() -> dict:
    """The same of the peers."""
    import sacrebleu
    from rouge_score.rouge_scorer import RougeScorer

    two, all_ = (RougeScorer([f"rouge{kind}" for kind in kinds]) for kinds in (KINDS[:2], KINDS))
    corpus, sentences = sacrebleu.BLEU(force=True), sacrebleu.BLEU(effective_order=True)
    return {
        "ROUGE-1 and 2": lambda rs, cs: [two.score(r, c) for r, c in zip(rs, cs)],
        "ROUGE-1, 2, L, Lsum": lambda rs, cs: [all_.score(r, c) for r, c in zip(rs, cs)],
        "BLEU": lambda rs, cs: corpus.corpus_score(cs, [rs]),
        "sentence BLEU": lambda rs, cs: [sentences.sentence_score(c, [r]) for r, c in zip(rs, cs)],
    }


def measure(who: str, args) -> dict:
    """Every kind of score once and once again, in this process, each on texts that no other kind has seen."""
    seconds = {}
    for place, (name, score) in enumerate({"ours": ours, "theirs": theirs}[who]().items()):
        texts = pairs(args.data, args.texts, seed=10 * args.turn + place)
        for key in (name, f"{name}, again"):
            start = time.perf_counter()
            score(*texts)
            seconds[key] = time.perf_counter() - start
    return seconds


def show(runs: dict, args) -> dict:
    """Print the table; return the ratios."""
    print(f"{args.data.name}: {args.texts:,} pairs of texts, median of {args.repeats} runs each")
    print(f"{'seconds':28} {NAMES['ours']:>16} {NAMES['theirs']:>24} {'ratio':>6}")
    ratios = {}
    for kind in runs["ours"][0]:
        one, other = median(runs["ours"], kind), median(runs["theirs"], kind)
        ratios[kind] = other / one
        print(f"{kind:28} {one:16.3f} {other:24.3f} {ratios[kind]:6.1f}")
    return {"data": args.data.name, "texts": args.texts, "ratios": ratios}


if __name__ == "__main__":
    parser = flags(__doc__, repeats=5)
    parser.add_argument("--data", type=Path, default=data_file("tales_valid.txt"), help="text, a blank line apart")
    parser.add_argument("--texts", type=int, default=500, help="pairs of texts to score (default: %(default)s)")
    main(parser.parse_args(), list(NAMES), measure, show)
