"""For every test: no network, and one thread, since threads that wait for each other make small tensors slow."""

import os
import socket

import pytest
import torch

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MINILLM_PROGRESS"] = os.devnull  # no test writes into the learner's own file
torch.set_num_threads(1)


def pytest_xdist_auto_num_workers(config):
    """All tests are shared among the cores; a few are not worth it; lessons and attacks measure time."""
    whole = config.args_source == config.ArgsSource.TESTPATHS
    return None if whole and config.option.markexpr not in ("lessons", "attack") else 0


@pytest.fixture(autouse=True)
def no_network(monkeypatch, request):
    """Refuse every connection but those of this machine to itself, which notebooks need."""
    if request.node.get_closest_marker("lessons"):
        return

    def refuse(*args, **kwargs):
        raise AssertionError("a test wanted the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
