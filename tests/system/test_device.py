"""Compiling where it works, and going on where it does not."""

import torch

from minillm.system import compiled


def test_without_a_compiler_the_model_runs_as_it_is_and_that_is_said(monkeypatch, capsys):
    """torch.compile itself succeeds: what it gives fails at the first call."""

    def lazy(thing):
        def call(*args):
            raise RuntimeError("\nNo working C++ compiler found in torch._inductor.config.cpp.cxx\nLong story")

        return call

    monkeypatch.setattr(torch, "compile", lazy)
    model = torch.nn.Linear(2, 2)
    assert compiled(model) is model
    said = capsys.readouterr().out
    assert "--compile does not work here (No working C++ compiler found" in said and "Long story" not in said


def test_with_a_compiler_the_compiled_model_is_given(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda thing: thing if callable(thing) else None)
    model = torch.nn.Linear(2, 2)
    assert compiled(model) is model
