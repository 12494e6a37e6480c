"""Graders of lesson 04: the weights of a query, masks, heads, how far a head looks, attention without the table."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from minillm.course.exercises import Wrong, exercise, expect
from minillm.models import attention, causal_mask


@exercise("weights_of_one_query")
def grade_weights_of_one_query(answer: Callable) -> None:
    """The lesson's three keys, scores that overflow, and the library on random ones."""
    q, keys = torch.tensor([2.0, 0.0]), torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
    came = answer(q.clone(), keys.clone())
    scores = keys @ q
    slips = [
        (scores.softmax(0), "Divide the scores by the square root of D before the softmax."),
        ((scores / 2).softmax(0), "Divide by the square root of D, not by D."),
        ((scores / 3**0.5).softmax(0), "That is the square root of the number of keys: D is the length of the query."),
        (scores / 2**0.5, "Those are scores. A softmax makes shares of them."),
        (scores / scores.sum(), "Those are shares of the scores: take exponentials first."),
    ]
    expected = (scores / 2**0.5).softmax(0)
    expect(came, expected, _slip(came, slips, "Dot products, divided by the square root of D, then a softmax."))
    large = answer(1000 * q, keys.clone())
    slip = "With scores of some thousand it must not be nan: subtract the largest score first, as softmax does."
    expect(large, torch.tensor([1.0, 0.0, 0.0]), slip)
    q, keys = _random(1, 5)[0], _random(7, 5)
    expect(answer(q, keys), attention(q[None], keys, keys)[1][0], "On 7 random keys it differs from the library's.")


@exercise("who_sees_whom")
def grade_who_sees_whom(answer: Callable) -> None:
    """Two texts by hand, one padded on the right and one on the left; then each pair of positions."""
    real = torch.tensor([[1, 1, 0], [0, 1, 1]])
    came = answer(real.clone())
    if isinstance(came, Tensor) and came.dtype != torch.bool:
        raise Wrong(f"it gave a tensor of {came.dtype}. A mask is boolean: use .bool(), and & rather than *.")
    triangle, keys = causal_mask(3, 3), real.bool()[:, None, :]
    queries, upper = real.bool()[:, :, None], torch.ones(3, 3).triu().bool()
    slips = [
        (triangle & queries, "You masked the padding of queries (rows). It is keys (columns) that nobody may see."),
        (triangle & queries & keys, "Padded queries need no mask of their own: treat them like any other."),
        (upper & keys, "The triangle is upside down: a query sees keys at or before its own place."),
        (triangle.tril(-1) & keys, "A query sees itself, too: the diagonal belongs to the triangle."),
        (triangle.expand(2, 3, 3), "The padding is missing."),
        (keys.expand(2, 3, 3), "The triangle is missing: a query sees later keys."),
        (~(triangle & keys), "True means that a query may look; yours says the opposite."),
    ]
    hint = _slip(came, slips, "The triangle and the real keys, joined by &, in the shape (B, T, T).")
    if not isinstance(came, Tensor) or not came.equal(triangle & keys):
        expect(came, triangle & keys, hint)
        raise Wrong(hint)
    real = _random(4, 6) > 0
    slow = [[[bool(s <= t and text[s]) for s in range(6)] for t in range(6)] for text in real]
    expect(answer(real.long()), torch.tensor(slow), "On 4 random texts it differs from a loop over queries and keys.")


@exercise("cut_into_heads")
def grade_cut_into_heads(answer: Callable) -> None:
    """Three tokens by hand, and slices of random vectors."""
    x = torch.tensor([[[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]])  # three tokens, two heads: no two axes alike
    came = answer(x.clone(), 2)
    slips = [
        (x.reshape(1, 2, 3, 2), "The shape is right, but it mixes positions: cut the channels first, then transpose."),
        (
            x.reshape(1, 3, 2, 2).permute(0, 3, 1, 2),
            "Head 0 got every other channel; a head's channels are neighbours.",
        ),
        (x.reshape(1, 3, 2, 2).permute(0, 2, 3, 1), "The last two axes are exchanged: (B, H, T, D) is wanted."),
        (x.reshape(1, 3, 2, 2), "The axes are (B, T, H, D): exchange T and H, so that (B, H, T, D) comes out."),
    ]
    expected = torch.stack([x[..., :2], x[..., 2:]], dim=1)
    expect(came, expected, _slip(came, slips, "Give the channels two axes, (B, T, H, D), then exchange T and H."))
    x = _random(2 * 5, 12).view(2, 5, 12)
    expected = torch.stack([x[..., 4 * head : 4 * head + 4] for head in range(3)], dim=1)
    came = answer(x.clone(), 3)
    slips = [
        (x.reshape(2, 3, 5, 4), slips[0][1]),
        (x.reshape(2, 5, 4, 3).permute(0, 3, 1, 2), slips[1][1]),
        (expected.transpose(1, 2), slips[3][1]),
    ]
    expect(came, expected, _slip(came, slips, "With 3 heads of 4 channels it differs from slices of the channels."))


@exercise("mean_reach")
def grade_mean_reach(answer: Callable) -> None:
    """Two heads by hand, then a loop."""
    weights = torch.tensor([[[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [1.0, 0.0, 0.0]], torch.eye(3).tolist()])
    came = answer(weights.clone())
    expected = torch.tensor([2.5 / 3, 0.0])
    slips = [
        (-expected, "It is negative: the distance is query minus key, t - s."),
        (expected / 3, "You took the mean over all T x T entries: sum over the keys, mean over the queries."),
        (expected * 3, "Take the mean over the queries, not the sum."),
        (expected.sum() / 2, "One number for each head is wanted."),
        (torch.tensor([1.0, 0.0]), "Every weight counts: you took the distance of the largest one only."),
        (torch.tensor([0.5, 0.0]), "A query at t = 2 that looks at s = 0 reaches back 2 tokens."),
    ]
    expect(came, expected, _slip(came, slips, "Weights times distances, summed over keys, mean over queries."))
    weights = attention(*_random(3 * 4 * 6, 5).view(3, 4, 6, 5), causal_mask(6, 6))[1]
    slow = [sum(head[t, s].item() * (t - s) for t in range(6) for s in range(6)) / 6 for head in weights]
    expect(answer(weights), torch.tensor(slow), "On 4 random heads it differs from a loop over queries and keys.")


class _Shapes(TorchDispatchMode):
    """Notes the shape of everything that is computed."""

    def __init__(self):
        super().__init__()
        self.seen = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor):
            self.seen.add(tuple(result.shape))
        return result


@exercise("attention_in_pieces")
def grade_attention_in_pieces(answer: Callable) -> None:
    """Equal scores by hand, rising scores, large ones, a last piece that is short, and no table of all scores."""
    q, k, v = torch.zeros(1, 1), torch.zeros(3, 1), torch.tensor([[1.0], [2.0], [6.0]])
    came = answer(q, k, v, 2)
    slips = [
        (torch.tensor([[3.75]]), "You took the mean of the pieces' means: a piece counts by its sum of exponentials."),
        (torch.tensor([[1.5]]), "The last, shorter piece is missing."),
        (torch.tensor([[7.5]]), "Divide at the end by the sum of all exponentials, once."),
        (torch.tensor([[9.0]]), "Divide by the sum of the exponentials."),
    ]
    expect(came, torch.tensor([[3.0]]), _slip(came, slips, "Equal scores: it should be the mean of the values."))
    k = torch.tensor([[0.0], [1.0], [2.0], [3.0]])  # every piece brings a larger score
    v, one = torch.tensor([[8.0], [4.0], [2.0], [1.0]]), torch.ones(1, 1)
    slip = "Each piece brought a larger score here. Then the old sums, made with the smaller one, must be multiplied "
    expect(answer(one, k, v, 1), attention(one, k, v)[0], slip + "by exp(old largest - new largest): both of them.")
    q, k, v = _random(5, 4), _random(64, 4), _random(64, 3)
    slip = "On 5 random queries and 64 keys it differs from the library's. Is it divided by the square root of D?"
    expect(answer(q, k, v, 10), attention(q, k, v)[0], slip)
    slip = "With scores of some hundred it must not be nan: subtract the largest score so far before each exponential."
    expect(answer(300 * q, k, v, 10), attention(300 * q, k, v)[0], slip)
    with _Shapes() as shapes:
        answer(q, k, v, 10)
    if {(5, 64), (64, 5), (1, 5, 64)} & shapes.seen:
        raise Wrong(
            "the numbers are right, but it made a table of all 5 x 64 scores; hold at most `size` keys' scores."
        )


def _random(rows: int, columns: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(100 * rows + columns))


def _slip(came, slips: list[tuple[Tensor, str]], otherwise: str) -> str:
    """The message of the slip that gives what came."""
    if isinstance(came, Tensor):
        for result, message in slips:
            if came.shape == result.shape and torch.allclose(came.double(), result.double(), atol=1e-4):
                return message
    return otherwise
