"""What a training example is, for each task: a record of words and labels turned into the ids that a model reads.

A text stands in the frame that its trunk was pre-trained with: an encoder reads <|cls|> text <|sep|>, a decoder
<|bos|> text <|eos|>, or text <|eos|> where its tokenizer puts nothing before a text. A pair stands in one row with
<|sep|> between (Devlin et al. 2019, figure 2), and where the trunk has segments each token says which text it belongs
to. What does not fit is cut at the end, from the longer text of a pair first, and counted.

An example is a dictionary of lists; `Padded` puts several into a batch. `show_example` prints what comes out.
"""

import sys
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from torch import Tensor, nn

from minillm.text import Tokenizer

IGNORE_INDEX = -100  # of labels: nothing is to be learned here
SAMPLED, FOREIGN = 200, 1.5  # texts; bytes a token below which a tokenizer does not know a text
CLOSING, OPENING = set(".,;:!?)]}%"), set("([{$")  # words that stand close to the word before, or to the one after


class Frame(NamedTuple):
    """The special tokens around a text (begin: None for none), and whether the two texts of a pair are numbered."""

    begin: int | None
    between: int
    end: int
    segments: bool = False

    @property
    def head(self) -> list[int]:
        """What stands before a text."""
        return [] if self.begin is None else [self.begin]


def encoder_frame(tokenizer: Tokenizer, segments: bool = True) -> Frame:
    """<|cls|> text <|sep|>, or <|cls|> text <|sep|> text <|sep|> with segments (Devlin et al. 2019)."""
    return Frame(tokenizer.cls_id, tokenizer.sep_id, tokenizer.sep_id, segments)


def decoder_frame(tokenizer: Tokenizer) -> Frame:
    """<|bos|> text <|eos|>, or <|bos|> text <|sep|> text <|eos|> (Radford et al. 2018, figure 1)."""
    if len(tokenizer.begin) > 1:
        raise ValueError(f"this tokenizer puts {len(tokenizer.begin)} tokens before a text, where a frame has one")
    return Frame(tokenizer.begin[0] if tokenizer.begin else None, tokenizer.sep_id, tokenizer.eos_id)


def corpus_frame(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """What stands before and behind a document of a corpus; where one token would do both, it stands before."""
    begin, end = list(tokenizer.begin), list(tokenizer.end) or [tokenizer.eos_id]
    return begin, [] if begin == end else end


def frame_of(trunk: nn.Module, tokenizer: Tokenizer) -> Frame:
    """What stands around a text that this trunk reads."""
    if getattr(trunk, "causal", True):
        return decoder_frame(tokenizer)
    return encoder_frame(tokenizer, segments=trunk.config.segments > 0)


def text_example(ids: Sequence[int], frame: Frame, context: int) -> dict:
    """One text in its frame: {"input_ids", "cut"}; "cut" is the number of tokens that did not fit into the context."""
    room = _room(context, len(frame.head) + 1)
    example = {"input_ids": [*frame.head, *ids[:room], frame.end], "cut": max(len(ids) - room, 0)}
    if frame.segments:
        example["segment_ids"] = [0] * len(example["input_ids"])
    return example


def pair_example(first: Sequence[int], second: Sequence[int], frame: Frame, context: int) -> dict:
    """Two texts in one row: {"input_ids", "segment_ids" where the trunk has them, "cut"}.

    >>> pair_example([5, 6, 7, 8], [9], Frame(1, 2, 3, True), context=7)   # one of the longer text is cut
    {'input_ids': [1, 5, 6, 7, 2, 9, 3], 'cut': 1, 'segment_ids': [0, 0, 0, 0, 0, 1, 1]}
    """
    room = _room(context, len(frame.head) + 2)
    cut = max(len(first) + len(second) - room, 0)
    n, m, rest = len(first), len(second), cut
    n, m, rest = n - min(rest, max(n - m, 0)), m - min(rest, max(m - n, 0)), rest - min(rest, abs(n - m))
    first, second = first[: n - (rest + 1) // 2], second[: m - rest // 2]  # equally long from here on: in turn
    ids = [*frame.head, *first, frame.between, *second, frame.end]
    example = {"input_ids": ids, "cut": cut}
    if frame.segments:
        example["segment_ids"] = [0] * (len(frame.head) + len(first) + 1) + [1] * (len(second) + 1)
    return example


def tag_example(
    words: Sequence[str], tags: Sequence[int], tokenizer: Tokenizer, frame: Frame, context: int, every_piece=False
) -> dict:
    """Words with a tag each, as tokens with a label each: {"input_ids", "labels", "words", "cut"}.

    The first token of a word carries the tag and its others are ignored, or carry it too with `every_piece`. "words"
    numbers the word of each labelled token.

    Source: Devlin et al. 2019, section 5.3 (its first token).
    """
    ids, labels, places = [], [], []
    for place, (pieces, tag) in enumerate(zip(word_pieces(words, tokenizer), tags, strict=True)):
        ids += pieces
        labels += [tag] + [tag if every_piece else IGNORE_INDEX] * (len(pieces) - 1)
        places += [place] * len(pieces)
    head = len(frame.head)
    room = _room(context, head + 1)
    labels, places = [IGNORE_INDEX] * head + [*labels[:room], IGNORE_INDEX], [-1] * head + [*places[:room], -1]
    return {**text_example(ids, frame, context), "labels": labels, "words": places}


def word_pieces(words: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """The ids of each word, with a space before it where a text would have one.

    A byte-pair tokenizer has a token of its own for a word after a space, and that is the one it met in training.
    """
    pieces, quoted, glued = [], False, True  # glued: no space before the next word
    for word in words:
        closes = word in CLOSING or (word == '"' and quoted)
        encode = tokenizer.encode_after if pieces else tokenizer.encode
        pieces.append(encode(word if glued or closes else " " + word))
        quoted = quoted != (word == '"')
        glued = word in OPENING or (word == '"' and quoted)
    return pieces


def chat_example(messages: Sequence[dict[str, str]], tokenizer: Tokenizer, context: int) -> dict:
    """A conversation of which what the assistant says is learned, and the end after it.

    Returns: {"input_ids", "labels", "cut"}, "cut" as in `text_example`; where no answer fits, no label counts.

    >>> tokenizer = Tokenizer.characters("hi yo")
    >>> messages = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    >>> example = chat_example(messages, tokenizer, context=16)
    >>> tokenizer.pieces(example["input_ids"])
    ['<|bos|>', '<|user|>', 'h', 'i', '<|assistant|>', 'y', 'o', '<|eos|>']
    >>> example["labels"]
    [-100, -100, -100, -100, -100, 4, 3, 7]
    """
    ids, learned = tokenizer.apply_chat(messages)
    labels = [i if counts else IGNORE_INDEX for i, counts in zip(ids, learned)]
    return {"input_ids": ids[:context], "labels": labels[:context], "cut": max(len(ids) - context, 0)}


def mean_token_length(texts: Sequence[str], tokenizer: Tokenizer, origin: object = None) -> float:
    """How many characters a token stands for, in up to SAMPLED of the texts.

    Args: origin: where the tokenizer is from; then one that was made for other text, and knows hardly more than the
        bytes of this, is said to be so.
    """
    some = texts[:: max(len(texts) // SAMPLED, 1)]
    tokens = max(sum(map(len, tokenizer.encode_batch(some))), 1)
    found, size = sum(map(len, some)) / tokens, sum(len(text.encode()) for text in some) / tokens
    if origin is not None and tokenizer.kind == "bpe" and 0 < size < FOREIGN:
        print(
            f"the tokenizer of {origin} was made for other text: here a token holds {found:.2f} characters, {size:.1f} "
            "bytes. So texts fill the context soon, and nothing that the model has learned helps it to read them: "
            "pretrain on such text first, and name that run by --from",
            file=sys.stderr,
        )
    return found


def _room(context: int, specials: int) -> int:
    if context <= specials:
        raise ValueError(f"a context of {context} tokens has no room for text beside {specials} special ones")
    return context - specials


def show_example(tokenizer: Tokenizer, batch: dict[str, Tensor], row: int = 0, names: Sequence[str] = ()) -> str:
    """Print and return a row of a batch as a model gets it, a line a token: position, token, id, label, mask, segment.

    A label that does not count is a dot, one that counts its token or its name in `names`; that of a text is below.
    """
    ids = batch["input_ids"][row].tolist()
    mask = batch["attention_mask"][row].tolist() if "attention_mask" in batch else [1] * len(ids)
    labels = batch.get("labels")
    whole = labels is not None and labels.dim() == 1
    positions = [real if m else "." for real, m in zip(accumulate(mask, initial=0), mask)]
    tokens = [repr(piece)[1:-1] for piece in tokenizer.pieces(ids)]
    columns: dict[str, list] = {"position": positions, "token": tokens, "id": ids}
    if labels is not None and not whole:
        columns["label"] = [_label(label, tokenizer, names) for label in labels[row].tolist()]
    columns["mask"] = mask
    if "segment_ids" in batch:
        columns["segment"] = batch["segment_ids"][row].tolist()
    table = [list(columns), *zip(*columns.values())]
    widths = [max(len(str(line[column])) for line in table) for column in range(len(columns))]
    lines = ["  ".join(str(cell).ljust(width) for cell, width in zip(line, widths)).rstrip() for line in table]
    if whole:
        label = labels[row].item()
        lines.append(f"label of the whole text: {names[label] if names else label}")
    text = "\n".join(lines)
    print(text)
    return text


def _label(label: int, tokenizer: Tokenizer, names: Sequence[str]) -> str:
    if label == IGNORE_INDEX:
        return "."
    return names[label] if names else repr(tokenizer.pieces([label])[0])[1:-1]
