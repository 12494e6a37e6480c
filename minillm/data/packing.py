"""Packing: several short examples in one row, each out of the others' sight, so that little is padding."""

from collections.abc import Sequence
from heapq import heappop, heappush


def pack(examples: Sequence[dict], length: int) -> list[dict]:
    """Put short examples into rows of at most `length` tokens: each goes into the first row that has room for it.

    The longest come first, so rows are nearly full. "attention_mask" numbers the texts of a row, 1, 2, ..., by which a
    model keeps them apart. "labels" are joined like "input_ids", of which they are a copy where an example has none.

    >>> [row["input_ids"] for row in pack([{"input_ids": [5] * 3}, {"input_ids": [6] * 2}, {"input_ids": [7]}], 4)]
    [[5, 5, 5, 7], [6, 6]]
    """
    rows, free = [], []
    open_rows: list[int] = []  # a heap of those with room for the present size; the others wait in lists, by their room
    waiting, smallest = [[] for _ in range(length + 1)], length + 1
    for example in sorted(examples, key=lambda example: -len(example["input_ids"])):
        size = len(example["input_ids"])
        while smallest > size:
            smallest -= 1
            for row in waiting[smallest]:
                heappush(open_rows, row)
        row = heappop(open_rows) if open_rows else len(rows)
        if row == len(rows):
            rows.append([])
            free.append(length)
        rows[row].append(example)
        free[row] -= size
        if free[row] >= size:
            heappush(open_rows, row)
        elif free[row] >= 0:
            waiting[free[row]].append(row)
    return [_joined(row) for row in rows]


def _joined(examples: list[dict]) -> dict:
    row: dict[str, list[int]] = {"input_ids": [], "labels": [], "attention_mask": []}
    for number, example in enumerate(examples, 1):
        row["input_ids"] += example["input_ids"]
        row["labels"] += example.get("labels", example["input_ids"])
        row["attention_mask"] += [number] * len(example["input_ids"])
    return {**row, "cut": sum(example.get("cut", 0) for example in examples)}
