"""The runs that are attacked, made once."""

import pytest
import sandbox


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """A folder with data and a run of each kind that others begin with."""
    return sandbox.make_zoo(tmp_path_factory.mktemp("attack") / "zoo")
