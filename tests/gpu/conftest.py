"""Where the tests of a GPU run: on one that is there, or, to see that the tests themselves are right, without one.

python -m pytest -m gpu                                on a CUDA device; skipped with a sentence where there is none
MINILLM_GPU_TESTS=virtual python -m pytest -m gpu      on the virtual GPU, whose numbers are the CPU's
MINILLM_GPU_TESTS=cpu python -m pytest -m gpu          on the CPU
"""

import contextlib
import os

import pytest
import torch
from virtual_gpu import VirtualGPU

KIND = os.environ.get("MINILLM_GPU_TESTS", "cuda")
NONE = "no CUDA device here; MINILLM_GPU_TESTS=virtual or cpu shows that these tests themselves are right"


@pytest.fixture(autouse=True)
def somewhere(request):
    """Skip where there is no GPU, and what the place at hand cannot do; else be on it for the test."""
    if KIND == "cuda" and not torch.cuda.is_available():
        pytest.skip(NONE)
    only = request.node.get_closest_marker("real")
    if only is not None and KIND not in only.args:
        pytest.skip(f"needs {' or '.join(only.args)}, and this is {KIND}")
    if KIND == "cpu" and getattr(request.node, "callspec", None) and "fp16" in request.node.callspec.params.values():
        pytest.skip("a CPU does not train in fp16")
    with VirtualGPU() if KIND == "virtual" else contextlib.nullcontext():
        yield


@pytest.fixture
def device():
    return "cpu" if KIND == "cpu" else "cuda"
