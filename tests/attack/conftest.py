"""The runs that are attacked, made once."""

from dataclasses import replace

import inside
import pytest
import sandbox

from minillm import training


@pytest.fixture(scope="session")
def zoo(tmp_path_factory):
    """A folder with data and a run of each kind that others begin with."""
    return sandbox.make_zoo(tmp_path_factory.mktemp("attack") / "zoo")


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Runs of all kinds, the files that they learned from, and files that nothing can be learned from."""
    return inside.make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture
def short_lives(world, tmp_path, monkeypatch):
    """Two steps are enough, pictures are not drawn, and texts are short."""
    fit = training.fit

    def two_steps(model, loss, batches, config, *more, **named):
        return fit(
            model,
            loss,
            batches,
            replace(config, steps=min(config.steps, 2), accumulate=min(config.accumulate, 2), eval_every=1),
            *more,
            **named,
        )

    from minillm.cli import generate, ppo, pretrain

    def few(own):
        def complete(model, tokenizer, prompts, length=4, *more, **named):
            return own(model, tokenizer, prompts[:2], min(length, 4), *more, **named) + [""] * (len(prompts) - 2)

        return complete

    config_of = ppo.ppo_config
    monkeypatch.setattr("minillm.cli.life.fit", two_steps)
    monkeypatch.setattr(
        ppo, "ppo_config", lambda *some: replace(c := config_of(*some), rounds=1, epochs=min(c.epochs, 2))
    )
    monkeypatch.setattr(ppo, "STANDARD", 12)
    monkeypatch.setattr(pretrain, "write", few(pretrain.write))
    monkeypatch.setattr(generate, "write", few(generate.write))
    monkeypatch.setattr("minillm.training.trainer.Compiled", lambda function: function)
    monkeypatch.setattr("minillm.cli.models.make_models", lambda *folders: None)  # by processes of its own
    monkeypatch.setattr("minillm.cli.tour.STAGES", ())
    monkeypatch.setattr("minillm.cli.doctor.PARTS", ("norms", "embedding"))  # all take minutes, compiled
    monkeypatch.setattr("minillm.cli.tour.life_story", lambda *some: "")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda figure, content, **_: content.write(b"no picture"))
    monkeypatch.chdir(world)
