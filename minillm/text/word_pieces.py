"""WordPiece: a word as the longest token that begins it, then the longest that goes on from there, marked by ##.

Source: Wu et al. 2016, arXiv:1609.08144, section 4.1, with BERT's greedy search (Devlin et al. 2019).
"""


class WordPieces:
    """The model WordPiece of tokenizer.json: words to ids. A word that no tokens make up is one unknown token."""

    def __init__(self, model: dict) -> None:
        self.vocab: dict[str, int] = model["vocab"]
        self.prefix, self.longest = model["continuing_subword_prefix"], model["max_input_chars_per_word"]
        if model["unk_token"] not in self.vocab:
            raise ValueError(f"model: unk_token is {model['unk_token']!r}, which is not in the vocabulary")
        self.unknown = self.vocab[model["unk_token"]]
        self._reach = max(map(len, self.vocab), default=0)

    def ids(self, word: str) -> list[int]:
        """The ids of a word."""
        if len(word) > self.longest:
            return [self.unknown]
        ids, start = [], 0
        while start < len(word):
            prefix = self.prefix if start else ""
            for end in range(min(len(word), start + self._reach), start, -1):
                if (found := self.vocab.get(prefix + word[start:end])) is not None:
                    break
            else:
                return [self.unknown]
            ids.append(found)
            start = end
        return ids

    def pieces(self, word: str) -> list[str]:
        """Of a word, all that can be looked up by itself: the word."""
        return [word]
