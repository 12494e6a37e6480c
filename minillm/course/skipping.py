"""Cells of a notebook that do nothing where what they need is absent: a lesson ends cleanly, without an error.

skip_cells(MODEL.exists(), but=("check(",))     # from the next cell on
"""

import builtins

SKIPPED = 'print("skipped: this cell needs the model")'


def skip_cells(there: bool, but: tuple[str, ...] = ()) -> None:
    """Where it is not there, replace every cell after this one by a line that says so, but those with one of `but`.

    Where it is there, cells that were skipped before run again. Outside a notebook it does nothing.
    """
    shell = getattr(builtins, "get_ipython", lambda: None)()
    if shell is None:
        return

    def skip(lines: list[str]) -> list[str]:
        """What runs in the place of a cell."""
        wanted = not lines or any(mark in line for line in lines for mark in ("skip_cells(", *but))
        return lines if wanted else [SKIPPED + "\n"]

    kept = [one for one in shell.input_transformers_post if getattr(one, "__qualname__", "") != skip.__qualname__]
    shell.input_transformers_post = kept if there else [*kept, skip]
