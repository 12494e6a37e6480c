"""Compiling where it works, and going on where it does not."""

import pytest
import torch
from torch._inductor.exc import InvalidCxxCompiler

from minillm.system import Compiled


def test_without_a_compiler_the_function_runs_as_it_is_and_that_is_said_once(monkeypatch, capsys):
    """torch.compile itself succeeds: what it gives fails at the first call."""

    def lazy(function):
        def call(*args):
            raise InvalidCxxCompiler

        return call

    monkeypatch.setattr(torch, "compile", lazy)
    double = Compiled(lambda x: 2 * x)
    assert double(3) == 6 and double(4) == 8
    said = capsys.readouterr().out
    assert said.count("--compile does not work here (No working C++ compiler found") == 1 and said.count("\n") == 1


def test_where_nothing_can_be_compiled_at_all_it_is_said_too(monkeypatch, capsys):
    def refuse(function):
        raise RuntimeError("torch.compile is not supported on Python 3.99")

    monkeypatch.setattr(torch, "compile", refuse)
    assert Compiled(lambda x: 2 * x)(3) == 6
    assert "does not work here (torch.compile is not supported on Python 3.99)" in capsys.readouterr().out


def test_what_a_compiled_function_complains_of_itself_is_an_error_as_ever(monkeypatch, capsys):
    monkeypatch.setattr(torch, "compile", lambda function: function)
    with pytest.raises(ZeroDivisionError):
        Compiled(lambda x: x / 0)(1)
    with pytest.raises(RuntimeError, match="shapes"):
        Compiled(torch.matmul)(torch.ones(2, 3), torch.ones(2, 3))
    assert capsys.readouterr().out == ""
