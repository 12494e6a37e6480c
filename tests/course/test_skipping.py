"""Cells that need what is absent do nothing and raise nothing; the others run, and so do all once it is there."""

import pytest

from minillm.course import skip_cells


def test_outside_a_notebook_nothing_happens():
    skip_cells(False)


def test_cells_are_skipped_until_it_is_there(capsys):
    shell = pytest.importorskip("IPython.core.interactiveshell").InteractiveShell()
    shell.run_cell("from minillm.course import skip_cells\nskip_cells(False, but=('check(',))")
    assert shell.run_cell("missing\nanother = 1").success
    assert "skipped" in capsys.readouterr().out and "another" not in shell.user_ns
    shell.run_cell("found = 2  # check(")
    assert shell.user_ns["found"] == 2
    shell.run_cell("skip_cells(True)")
    shell.run_cell("another = 1")
    assert shell.user_ns["another"] == 1 and not shell.input_transformers_post
