"""The picture of the rounds, of searches of any kind and state."""

from __future__ import annotations

import pytest

from lightning_hp import Choice, CoarseToFine, ConfigError, Int, Linear, Log, ReverseLog, Space, Study, Trial
from lightning_hp.report import draw_rounds
from lightning_hp.trial import RoundBegan

SPACE = Space({"lr": Log(1e-4, 1.0), "momentum": ReverseLog(0.5, 0.99), "layers": Int(1, 3), "act": Choice("relu", "tanh")})


def test_a_study_draws_its_rounds(search, tmp_path):
    study = search(strategy=CoarseToFine(first=4, size=2), trials=8).run()
    study.draw_rounds(tmp_path / "rounds.png")
    Study(study.root).draw_rounds(tmp_path / "again.png")
    assert (tmp_path / "rounds.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "rounds.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_regions_are_drawn_where_their_rounds_are(tmp_path):
    sampler, trials = CoarseToFine(first=8, size=4), []
    for number, hparams in enumerate(sampler.propose(SPACE, 0, range(8), [])):
        trials.append(Trial(number, hparams, seed=0, state="complete", value=abs(hparams["lr"] - 0.1)))
    rounds = [RoundBegan(0, ""), RoundBegan(8, "0-7", sampler.explain(SPACE, 0, 8, trials))]
    plain, zoomed = tmp_path / "plain.svg", tmp_path / "zoomed.svg"
    draw_rounds(plain, SPACE, trials, [], "min")
    draw_rounds(zoomed, SPACE, trials, rounds, "min")
    assert plain.read_text().count("#0f7b8a") == 0
    # One part for each ordered scale, one for each value of the choice.
    assert zoomed.read_text().count("fill: #0f7b8a") == 5


@pytest.mark.parametrize(
    "trials", [[], [Trial(0, {"dropout": 0.1}, 0, "failed")], [Trial(3, {"dropout": 0.1}, 0, "complete", 1.0)]]
)
def test_few_trials_make_a_picture_too(tmp_path, trials):
    draw_rounds(tmp_path / "few.png", Space({"dropout": Linear(0.0, 0.5)}), trials, [], "max")
    assert (tmp_path / "few.png").stat().st_size > 1000


def test_a_file_that_matplotlib_does_not_write_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"rounds\.txt: Format 'txt' is not supported"):
        draw_rounds(tmp_path / "rounds.txt", SPACE, [], [], "min")
