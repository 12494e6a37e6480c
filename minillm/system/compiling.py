"""torch.compile where it works, a notice and the plain function where it does not.

torch compiles at the first call, and complains only then of a compiler that is missing or of a function that it cannot
read. Another shape is compiled again, and from then on any.
"""

import warnings
from collections.abc import Callable

import torch

COMPILER = ("torch._dynamo", "torch._inductor", "torch._functorch")  # whose errors are not the function's own


class Compiled:
    """A function, compiled. Where that fails the reason is said once, and the function is called as it is.

    Args: how: what else torch.compile takes.
    """

    def __init__(self, function: Callable, **how):
        self.function = self.fast = function
        try:
            self.fast = torch.compile(function, **how)
        except Exception as error:  # of many kinds: a Python that is too new, a system that has none
            self.go_on_without(error)

    def __call__(self, *args, **named):
        """What the function returns."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what the compiler leaves to torch, which nobody asked for
                return self.fast(*args, **named)
        except Exception as error:
            if not any(kind.__module__.startswith(COMPILER) for kind in type(error).__mro__):
                raise
            self.go_on_without(error)
            return self.function(*args, **named)

    def go_on_without(self, error: Exception) -> None:
        """Say why."""
        why = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        print(f"--compile does not work here ({why}); going on without it")
        self.fast = self.function
