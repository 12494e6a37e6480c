"""`train.py models`, as far as it can be tried without training: `pytest -m models` does the rest."""

import pytest

from minillm.cli import main


@pytest.mark.parametrize("flag", ["--out", "--runs"])
def test_a_file_in_the_place_of_a_folder_is_refused_before_anything_is_trained(flag, tmp_path, capsys):
    place = tmp_path / "file"
    place.write_text("mine")
    assert main(["models", flag, str(place)]) == 2
    assert f"{place} is a file" in capsys.readouterr().err and place.read_text() == "mine"
