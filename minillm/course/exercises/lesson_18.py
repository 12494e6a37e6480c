"""Graders of lesson 18: the size of LoRA, its gradients, the ranks that a change needs, two adapters as one."""

from collections.abc import Callable

import torch
from torch import Tensor

from minillm.course.exercises import Wrong, exercise, expect, likely_slip


@exercise("lora_size")
def grade_lora_size(answer: Callable) -> None:
    """One matrix by hand, several of different shapes, and no matrix."""
    came = answer([(4, 6)], 2)
    slips = [
        (24, "That is the matrix itself. LoRA learns A (rank, in) and B (out, rank)."),
        (48, "The rank multiplies the sum of the two sides, not their product."),
        (10, "That is for rank 1: each rank has a row of A and a column of B."),
        (8, "That is B alone: A has rank x in numbers more."),
        (12, "That is A alone: B has out x rank numbers more."),
    ]
    expect(_whole(came), 20, likely_slip(came, slips, "A has 2 x 6 numbers and B has 4 x 2."))
    shapes = [(3, 3), (3, 5), (7, 3)]
    slips = [
        (24, "That is the first matrix only: add all of them."),
        (40, "That is the last matrix only: add all of them."),
    ]
    came = _whole(answer(shapes, 4))
    expect(came, 96, likely_slip(came, slips, "The sides add up to 6, 8 and 10; each counts 4 times."))
    expect(_whole(answer([], 4)), 0, "Where nothing is adapted, nothing is learned.")


@exercise("lora_gradients")
def grade_lora_gradients(answer: Callable) -> None:
    """A rank of one by hand; the start, where B is zero; random numbers against autograd."""
    G = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    A, B = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0], [2.0]])
    came = _pair(answer(G.clone(), A.clone(), B.clone(), 10.0))
    dA, dB = torch.tensor([[60.0, 80.0]]), torch.tensor([[10.0], [30.0]])
    slips = [
        ((dB, dA), "The order is that of A first, then of B."),
        ((dA / 10, dB / 10), "The scale multiplies B A, and so both gradients."),
        ((dA * 10, dB * 10), "The scale comes once, not squared."),
        (
            (torch.tensor([[40.0, 80.0]]), torch.tensor([[10.0], [20.0]])),
            "Transpose the one beside G, not G itself.",
        ),
        ((torch.tensor([[60.0], [80.0]]), torch.tensor([[10.0, 30.0]])), "A gradient has the shape of its matrix."),
    ]
    slip = likely_slip(came, slips, "That of A is scale * B' G, that of B is scale * G A'.")
    expect(came, (dA, dB), slip)
    generator = torch.Generator().manual_seed(0)
    for zero in (True, False):
        G, A, B = (torch.randn(shape, generator=generator) for shape in ((5, 7), (3, 7), (5, 3)))
        B = torch.zeros_like(B) if zero else B
        slip = "On random numbers with out 5, in 7, rank 3 it differs from autograd."
        if zero:
            slip = "With B = 0 nothing pulls at A, and B is pulled by scale * G A'."
        expect(_pair(answer(G.clone(), A.clone(), B.clone(), 0.5)), _autograd(G, A, B, 0.5), slip)


@exercise("ranks_needed")
def grade_ranks_needed(answer: Callable) -> None:
    """Diagonal matrices by hand, a product of low-rank ones, and the ends."""
    change = torch.diag(torch.tensor([3.0, 0.0, 4.0]))  # squares 16, 9, 0: shares 0.64 and 1
    came = _whole(answer(change.clone(), 0.6))
    slips = [
        (2, "Of the squares 16, 9, 0 the first alone holds 0.64. Did you add the values without squaring them?"),
        (0, "Count the last one too: the number of values that reach the share, not the place before it."),
        (3, "The largest come first."),
    ]
    expect(came, 1, likely_slip(came, slips, "The singular values are 4, 3 and 0."))
    came = _whole(answer(change.clone(), 0.7))
    slips = [(1, "Did you square the sum, or take a root? 16 of 25 is 0.64, which is less than 0.7.")]
    expect(came, 2, likely_slip(came, slips, "16 of 25 is 0.64, which is less than 0.7; with the second it is 1."))
    equal = torch.eye(4)
    came = _whole(answer(equal.clone(), 0.5))
    slips = [(3, "At least the share: where it is reached exactly, that is enough.")]
    expect(came, 2, likely_slip(came, slips, "Four equal values: two of them hold a half."))
    generator = torch.Generator().manual_seed(0)
    narrow = torch.randn(8, 3, generator=generator, dtype=torch.float64)
    narrow = narrow @ torch.randn(3, 6, generator=generator, dtype=torch.float64)
    came = _whole(answer(narrow.clone(), 0.999999))
    expect(came, 3, "A product through 3 channels has rank 3, though it is 8 x 6.")


@exercise("joined_adapters")
def grade_joined_adapters(answer: Callable) -> None:
    """Two of rank 1 by hand; different ranks and scales on random numbers."""
    first = (torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0], [0.0]]), 2.0)
    second = (torch.tensor([[0.0, 1.0]]), torch.tensor([[0.0], [1.0]]), 4.0)
    expected = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    A, B = _thin(_pair(answer(_copy(first), _copy(second))))
    slips = [
        (torch.ones(2, 2), "The cross terms B1 A2 and B2 A1 came in, and the scales are missing: stack, do not add."),
        (torch.tensor([[1.0, 0.0], [0.0, 1.0]]), "The scales are missing: put each into its own A or its own B."),
        (torch.tensor([[4.0, 0.0], [0.0, 16.0]]), "The scales came in twice: into A or into B, not both."),
        (torch.tensor([[2.0, 4.0], [2.0, 4.0]]), "The cross terms B1 A2 and B2 A1 came in: stack, do not add."),
        (torch.tensor([[2.0, 2.0], [4.0, 4.0]]), "The cross terms B1 A2 and B2 A1 came in: stack, do not add."),
        (torch.tensor([[4.0, 8.0], [8.0, 16.0]]), "The cross terms B1 A2 and B2 A1 came in: stack, do not add."),
        (torch.tensor([[2.0, 0.0], [0.0, 0.0]]), "The second adapter is missing."),
        (torch.tensor([[4.0, 0.0], [0.0, 2.0]]), "The scales are exchanged."),
    ]
    slip = likely_slip(B @ A, slips, "B A of the new one is the sum of the two changes, each with its scale.")
    expect(B @ A, expected, slip)
    expect(len(A), 2, "The new rank is the sum of the two ranks.")
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    first, second = (draw(1, 5), draw(4, 1), 0.5), (draw(3, 5), draw(4, 3), -2.0)
    A, B = _thin(_pair(answer(_copy(first), _copy(second))))
    right = sum(scale * B_own @ A_own for A_own, B_own, scale in (first, second))
    expect(B @ A, right, "With ranks 1 and 3 on a matrix (4, 5) it differs.")
    expect(len(A), 4, "The new rank is the sum of the two ranks.")


def _copy(adapter: tuple) -> tuple:
    A, B, scale = adapter
    return A.clone(), B.clone(), scale


def _autograd(G: Tensor, A: Tensor, B: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The oracle: a loss whose gradient at the changed weight is G."""
    A, B = A.clone().requires_grad_(), B.clone().requires_grad_()
    return torch.autograd.grad((G * (scale * B @ A)).sum(), (A, B))


def _whole(came) -> int:
    came = came.item() if isinstance(came, Tensor) and came.numel() == 1 else came
    if isinstance(came, bool) or not isinstance(came, int | float) or came != int(came):
        raise Wrong(f"it gave {came!r} where a whole number was expected.")
    return int(came)


def _pair(came) -> tuple[Tensor, Tensor]:
    if not isinstance(came, list | tuple) or len(came) != 2 or not all(isinstance(one, Tensor) for one in came):
        raise Wrong(f"it gave {came!r} where two tensors were expected, first that of A, then that of B.")
    return tuple(came)


def _thin(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    A, B = pair
    if A.dim() != 2 or B.dim() != 2 or B.size(1) != A.size(0):
        shapes = f"A {tuple(A.shape)} and B {tuple(B.shape)}"
        raise Wrong(
            f"it gave {shapes}: the columns of B must be as many as the rows of A. Stack A by rows, B by columns."
        )
    return A, B
