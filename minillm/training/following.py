"""The run folder as it is for the processes that do not lead: they read it, and leave the writing to rank 0.

Where a model is sharded its parts are gathered to be written, for which all processes have to ask; so a follower goes
through the same motions as the leader, and throws away what comes.
"""

from typing import Any

import torch
from torch import nn

from minillm.system import Alone
from minillm.training.runs import RunFolder


class Follower:
    """A run folder, or one of its kinds, that is read as it is and never written into."""

    def __init__(self, run: RunFolder):
        self.run = run

    def __getattr__(self, name: str) -> Any:
        return getattr(self.run, name)

    def restore(self, state, model: nn.Module, optimizer: torch.optim.Optimizer, history) -> None:
        """Let all go on from a checkpoint; the leader may not have shortened the log yet."""
        type(self.run).restore(self, state, model, optimizer, history)
        history.records = [record for record in history.records if record["step"] <= history.step]

    def save_config(self, **config) -> None:
        """Leave it to the leader."""

    def save_model(self, model: nn.Module) -> None:
        """Give what others need to write the weights."""
        self.run.to_keep(model)

    def save_training(self, model: nn.Module, optimizer: torch.optim.Optimizer, history, **more) -> None:
        """Give what others need to write the checkpoint."""
        self.run.tensors_of(model, optimizer, {"optimizer": optimizer.state_dict()})

    def log(self, record: dict) -> None:
        """Leave it to the leader."""

    def truncate_log(self, step: int) -> None:
        """Leave it to the leader."""


def following(run: RunFolder, together: Alone) -> RunFolder | Follower:
    """The folder for this process: as it is for the one that leads."""
    return run if together.leads else Follower(run)
