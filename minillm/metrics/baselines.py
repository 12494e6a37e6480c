"""Baselines, by which one sees what a score is worth: a model that does not beat them has learned only to count.

The majority class; a bag of words, which ignores word order (logistic regression on the words that a text holds,
Jurafsky & Martin, chapter 5); for tags, the commonest tag of each word.
Left out: n-grams, tf-idf in the classifier, tuning: the weight decay is fixed.
"""

from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from minillm.metrics.words import words_and_marks

BAG_DECAY = 1e-3  # weight decay of the bag of words; fits a few thousand texts
BAG_STEPS = 60  # of L-BFGS, enough to converge


def majority(labels: Sequence) -> object:
    """The commonest label, the first in order among equals."""
    counts = Counter(labels)
    return min(counts, key=lambda label: (-counts[label], str(label)))


class BagOfWords:
    """Logistic regression on which words a text holds: `fit` on texts and classes, then `predict`.

    A text may be a tuple of two: then a word counts by the text in which it stands.
    """

    def fit(self, texts: Sequence[str | tuple[str, str]], labels: Sequence[int], classes: int) -> "BagOfWords":
        """Learn a weight for each word and class; words that occur once are left out."""
        counts = Counter(word for text in texts for word in self._features(text))
        self.words = {word: i for i, word in enumerate(sorted(w for w, n in counts.items() if n > 1))}
        x, y = self._matrix(texts), torch.tensor(labels)
        self.weight = torch.zeros(max(len(self.words), 1), classes, requires_grad=True)
        self.bias = torch.zeros(classes, requires_grad=True)
        optimizer = torch.optim.LBFGS([self.weight, self.bias], max_iter=BAG_STEPS, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            logits = torch.sparse.mm(x, self.weight) + self.bias
            loss = F.cross_entropy(logits, y) + BAG_DECAY * self.weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return self

    @torch.no_grad()
    def predict(self, texts: Sequence[str | tuple[str, str]]) -> list[int]:
        """The likeliest class of each text."""
        return (torch.sparse.mm(self._matrix(texts), self.weight) + self.bias).argmax(1).tolist()

    @staticmethod
    def _features(text: str | tuple[str, str]) -> set[str]:
        parts = (text,) if isinstance(text, str) else text
        return {f"{place} {word}" for place, part in enumerate(parts) for word in words_and_marks(part.lower())}

    def _matrix(self, texts: Sequence) -> torch.Tensor:
        """Which text holds which word, (N, words), sparse."""
        places = [(i, self.words[w]) for i, text in enumerate(texts) for w in self._features(text) if w in self.words]
        index = torch.tensor(places, dtype=torch.long).reshape(-1, 2).T
        shape = (len(texts), max(len(self.words), 1))
        return torch.sparse_coo_tensor(index, torch.ones(len(places)), shape, check_invariants=True).coalesce()


def commonest_tags(words: Sequence[Sequence[str]], tags: Sequence[Sequence[str]]) -> dict[str, str]:
    """The tag that each word had most often in training; of a word never met, "O" is as good a guess as any."""
    counts: dict[str, Counter] = {}
    for text, own in zip(words, tags, strict=True):
        for word, tag in zip(text, own, strict=True):
            counts.setdefault(word, Counter())[tag] += 1
    return {word: majority(list(count.elements())) for word, count in counts.items()}


def word_similarity(first: Sequence[str], second: Sequence[str]) -> torch.Tensor:
    """Cosines (N, M) of texts as bags of words, a word weighing ln(texts / texts that hold it) (Spärck Jones 1972)."""
    bags = [set(words_and_marks(text.lower())) for text in [*first, *second]]
    counts = Counter(word for bag in bags for word in bag)
    place = {word: i for i, word in enumerate(counts)}
    x = torch.zeros(len(bags), len(place))
    for row, bag in enumerate(bags):
        for word in bag:
            x[row, place[word]] = torch.log(torch.tensor(len(bags) / counts[word]))
    x = F.normalize(x, dim=-1)
    return x[: len(first)] @ x[len(first) :].T
