"""Graders of lesson 10: a mean without padding, shifted targets, an instruction's labels, tags on tokens, a test."""

from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip
from minillm.data import IGNORE_INDEX as NO
from minillm.data import Frame, tag_example
from minillm.models import last_token, mean_pool


@exercise("mean_of_real")
def grade_mean_of_real(answer: Callable) -> None:
    """The lesson's toy, padding on the left, a text of nothing, and the library's on random vectors."""
    h = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [8.0, 0.0]]])
    mask = torch.tensor([[1, 1, 0]])
    came = answer(h.clone(), mask.clone())
    slips = [
        (h.mean(1), "That is the mean of all three positions: the padding counts."),
        (torch.tensor([[4 / 3, 2.0]]), "The padding is out of the sum, but you divide by T = 3: divide by 2."),
        (torch.tensor([[4.0, 6.0]]), "That is the sum: divide by the number of real positions."),
        (torch.tensor([2.0, 3.0]), "Keep the dimension B: the answer is (B, C), here (1, 2)."),
    ]
    slip = "Sum the vectors where the mask is 1, then divide by how many there are."
    expect(came, torch.tensor([[2.0, 3.0]]), likely_slip(came, slips, slip))
    expect(answer(h.flip(1), mask.flip(1)), torch.tensor([[2.0, 3.0]]), "Padding may stand on the left, too.")
    slip = "A text without any real position: 0, not 0 / 0. Divide by at least 1."
    expect(answer(h.clone(), torch.zeros(1, 3, dtype=torch.long)), torch.zeros(1, 2), slip)
    generator = torch.Generator().manual_seed(1)
    h, mask = torch.randn(5, 7, 3, generator=generator), torch.randint(0, 2, (5, 7), generator=generator)
    slip = "Every text has its own number of real positions: on five of them it differs from masked_mean."
    expect(answer(h.clone(), mask.clone()), mean_pool(h, mask), slip)


@exercise("next_targets")
def grade_next_targets(answer: Callable) -> None:
    """The lesson's toy, no padding at all, a real token with the id of padding, padding on the left."""
    came = _ints(answer([0, 1, 2, 3, 4, 5, 5], [1, 1, 1, 1, 1, 0, 0]))
    slips = [
        ([0, 1, 2, 3, 4, NO, NO], "That is not shifted: position 0 would say what it has just read."),
        (
            [1, 2, 3, 4, 5, 5, NO],
            "Padding is learned: where the mask of the next position is 0, nothing is to be said.",
        ),
        ([1, 2, 3, 4, 5, NO, NO], "The last real token would have to say padding: look at the next position's mask."),
        ([2, 3, 4, NO, NO, NO, NO], "That is shifted twice: position 0 must say the token at 1."),
        ([NO, 0, 1, 2, 3, NO, NO], "That is shifted the wrong way: a position says what comes after it."),
        ([1, 2, 3, 4], "One entry for each position, -100 where nothing is to be said."),
        (
            [1, 2, 3, NO, NO, NO, NO],
            "The end (id 4) is a token like any other: it must be said, or the model never stops.",
        ),
    ]
    slip = "At t stands ids[t + 1] if that is a real token, else -100."
    expect(came, [1, 2, 3, 4, NO, NO, NO], likely_slip(came, slips, slip))
    expect(_ints(answer([7, 8, 9], [1, 1, 1])), [8, 9, NO], "Nothing follows the last position: -100.")
    expect(_ints(answer([7], [1])), [NO], "A single token predicts nothing.")
    slip = "Padding is where the mask is 0. An id proves nothing: here the end and padding are both 2."
    expect(_ints(answer([5, 2, 6, 2, 2], [1, 1, 1, 1, 0])), [2, 6, 2, NO, NO], slip)
    slip = "Padding on the left: it says nothing itself, and nothing announces the first real token."
    expect(_ints(answer([0, 0, 3, 4], [0, 0, 1, 1])), [NO, NO, 4, NO], slip)


@exercise("instruction_row")
def grade_instruction_row(answer: Callable) -> None:
    """Three tokens asked, two answered; an empty answer; an answer that repeats the prompt."""
    signs = {"bos": 1, "user": 2, "assistant": 3, "eos": 4}
    ids = [1, 2, 7, 8, 9, 3, 7, 6, 4]
    came = _row(answer([7, 8, 9], [7, 6], **signs))
    slips = [
        ((ids, ids), "Everything is learned, the question too: its labels are -100."),
        ((ids, [NO] * 6 + [7, 6, NO]), "The end after the answer is learned as well, or the model never stops."),
        (
            (ids, [NO] * 5 + [3, 7, 6, 4]),
            "The assistant's sign belongs to the prompt: our code writes it, not the model.",
        ),
        ((ids, [NO] * 5 + [7, 6, 4, NO]), "That is shifted. Labels are aligned with the ids; the loss shifts."),
        ((ids, [NO, NO, 7, NO, NO, NO, 7, 6, 4]), "Id 7 is in the prompt, too. Go by places, not by ids."),
        ((ids[:-1], [NO] * 6 + [7, 6]), "The row ends with eos, and eos is learned."),
        ((ids, [7, 6, 4]), "A label for each id, -100 on the prompt."),
    ]
    slip = "bos, user, prompt, assistant, answer, eos; labels on the answer and on eos alone."
    expect(came, (ids, [NO] * 6 + [7, 6, 4]), likely_slip(came, slips, slip))
    slip = "An empty answer still ends: eos is learned."
    expect(_row(answer([5], [], **signs)), ([1, 2, 5, 3, 4], [NO] * 4 + [4]), slip)
    other = {"bos": 11, "user": 12, "assistant": 13, "eos": 14}
    slip = "Take the signs that are given."
    expect(_row(answer([5], [6], **other)), ([11, 12, 5, 13, 6, 14], [NO] * 4 + [6, 14]), slip)


@exercise("tags_on_tokens")
def grade_tags_on_tokens(answer: Callable) -> None:
    """Three words in five tokens; a context that cuts; random words against `tag_example`."""
    words, tags = [[5], [6, 7, 8], [9]], [0, 2, 1]
    ids = [1, 5, 6, 7, 8, 9, 3]
    came = _row(answer(words, tags, 1, 3, 20))
    slips = [
        (
            (ids, [NO, 0, 2, 2, 2, 1, NO]),
            "Only the first token of a word has a label: the others would count it twice.",
        ),
        (
            (ids, [0, 2, NO, NO, 1, NO, NO]),
            "The first token of the frame has no word: it needs a -100, and moves the rest.",
        ),
        ((ids, [NO, 0, NO, NO, 2, 1, NO]), "The label stands on the last token of the word: take the first."),
        ((ids, [0, 0, 2, NO, NO, 1, 0]), "The tokens of the frame have no label: -100, not 0, which is a class."),
        ((ids, [NO, 0, 2, 0, 0, 1, NO]), "0 is a class. What is to be ignored is -100."),
        ((ids[1:-1], [0, 2, NO, NO, 1]), "The frame is missing: begin in front, end behind, both ignored."),
    ]
    slip = "begin, the tokens of all words, end; each word's tag at its first token, -100 elsewhere."
    expect(came, (ids, [NO, 0, 2, NO, NO, 1, NO]), likely_slip(came, slips, slip))
    came = _row(answer(words, tags, 1, 3, 5))
    slips = [
        (([1, 5, 6, 7, 8], [NO, 0, 2, NO, NO]), "The end was cut off: cut the words, then add it."),
        ((ids, [NO, 0, 2, NO, NO, 1, NO]), "At most `context` ids, the frame included."),
        (([1, 5, 6, 7, 8, 9, 3][:6], [NO, 0, 2, NO, NO, 1]), "The frame counts: two of the five places are its own."),
    ]
    slip = "A context of 5 has room for 3 tokens of words beside the frame."
    expect(came, ([1, 5, 6, 7, 3], [NO, 0, 2, NO, NO]), likely_slip(came, slips, slip))
    generator = torch.Generator().manual_seed(2)
    for context in (8, 30):
        sizes = torch.randint(1, 4, (9,), generator=generator).tolist()
        words = [torch.randint(10, 99, (size,), generator=generator).tolist() for size in sizes]
        tags = torch.randint(0, 5, (9,), generator=generator).tolist()
        oracle = tag_example([str(i) for i in range(9)], tags, _Pieces(words), Frame(1, 0, 3), context)
        slip = f"On nine words and a context of {context} it differs from tag_example."
        expect(_row(answer(words, tags, 1, 3, context)), (oracle["input_ids"], oracle["labels"]), slip)


class _Pieces:
    """A tokenizer for words that are numbers: word i has the tokens `words[i]`."""

    def __init__(self, words: list[list[int]]):
        self.words = words

    def encode(self, word: str) -> list[int]:
        return self.words[int(word)]

    encode_after = encode


TABLE = torch.randn(20, 4, generator=torch.Generator().manual_seed(3))


def _over_all(ids: Tensor, mask: Tensor) -> Tensor:
    return TABLE[ids].mean(1)


def _first_count(ids: Tensor, mask: Tensor) -> Tensor:
    """Everybody's sum is divided by the number of real tokens of the first text."""
    return (TABLE[ids] * mask[..., None]).sum(1) / mask[0].sum()


def _attends(ids: Tensor, mask: Tensor) -> Tensor:
    return (TABLE[ids].sum(-1).softmax(-1)[..., None] * TABLE[ids]).sum(1)


def _noisy(ids: Tensor, mask: Tensor) -> Tensor:
    """Right, up to what rounding does in a batch of another shape."""
    return mean_pool(TABLE[ids], mask) * (1 + 2e-7 * ids.size(1))


def _slightly(ids: Tensor, mask: Tensor) -> Tensor:
    return mean_pool(TABLE[ids], mask) + 0.01 * TABLE[ids].mean(1)


@exercise("feels_its_neighbour")
def grade_feels_its_neighbour(answer: Callable) -> None:
    """Readers that are right and readers with a leak, each of which a lazy test gets wrong."""

    def ask(reader: Callable, expected: bool, slip: str, text=(5, 6), longer=(7, 8, 9, 10, 11)) -> None:
        came = answer(reader, list(text), list(longer), 0)
        if not isinstance(came, bool):
            raise Wrong(f"it gave {came!r} where True or False was expected. Return bool(...).")
        expect(came, expected, slip)

    ask(_over_all, True, "This reader's mean counts padding: alone and beside a longer text its vectors differ.")
    ask(lambda ids, mask: mean_pool(TABLE[ids], mask), False, "The mean over real tokens does not feel padding.")
    ask(lambda ids, mask: last_token(TABLE[ids], mask), False, "The last real token is the same beside any neighbour.")
    ask(lambda ids, mask: TABLE[ids][:, -1], True, "This reader takes the last column, which is padding in a batch.")
    ask(_attends, True, "This reader's attention sees the padding.")
    ask(_noisy, False, "Numbers round differently in a batch of another shape: allow about 1e-4, do not ask for ==.")
    ask(_slightly, True, "A leak of 0.01 is a leak: allow rounding (1e-4), no more.")
    slip = "This reader takes the count of the first row for all: put the short text first, and then second."
    ask(_first_count, True, slip)
    slip = "Here a real token has the id of padding. Make the mask from the lengths, not from the ids."
    ask(lambda ids, mask: mean_pool(TABLE[ids], mask), False, slip, text=(5, 0, 6))


def _ints(came) -> list[int]:
    if isinstance(came, Tensor):
        came = came.tolist()
    if not isinstance(came, list | tuple) or not all(isinstance(i, int) for i in came):
        raise Wrong(f"it gave {came!r} where a list of whole numbers was expected.")
    return list(came)


def _row(came) -> tuple[list[int], list[int]]:
    if not isinstance(came, tuple | list) or len(came) != 2:
        raise Wrong(f"it gave {came!r} where a pair was expected. Return the ids and the labels, two lists.")
    return _ints(came[0]), _ints(came[1])
