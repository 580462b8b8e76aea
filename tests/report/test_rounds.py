"""The picture of the rounds, of searches of any kind and state."""

from __future__ import annotations

import pytest

from lightning_hp import CoarseToFine, ConfigError, Linear, Space, StorageError, Study, Trial
from tests.report.made import SPACE, region, study, trials


def test_a_study_draws_its_rounds(search, tmp_path):
    study = search(strategy=CoarseToFine(first=4, size=2), trials=8).run()
    study.draw_rounds(tmp_path / "rounds.png")
    Study(study.root).draw_rounds(tmp_path / "again.png")
    assert (tmp_path / "rounds.png").read_bytes()[:4] == b"\x89PNG"
    assert (tmp_path / "rounds.png").read_bytes() == (tmp_path / "again.png").read_bytes()


def test_regions_are_drawn_where_their_rounds_are(tmp_path):
    made = trials(["complete"] * 12)
    plain, zoomed = tmp_path / "plain.svg", tmp_path / "zoomed.svg"
    study(tmp_path / "plain", made).draw_rounds(plain)
    study(tmp_path / "zoomed", made, rounds=[region(SPACE, 8)]).draw_rounds(zoomed)
    assert plain.read_text().count("#0f7b8a") == 0
    # One part for each ordered scale, one for each value of the choice.
    assert zoomed.read_text().count("fill: #0f7b8a") == 5


@pytest.mark.parametrize(
    "made", [[], [Trial(0, {"dropout": 0.1}, 0, "failed")], [Trial(3, {"dropout": 0.1}, 0, "complete", 1.0)]]
)
def test_few_trials_make_a_picture_too(tmp_path, made):
    study(tmp_path / "few", made, Space({"dropout": Linear(0.0, 0.5)})).draw_rounds(tmp_path / "few.png")
    assert (tmp_path / "few.png").stat().st_size > 1000


def test_a_file_that_matplotlib_does_not_write_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"rounds\.txt: Format 'txt' is not supported"):
        study(tmp_path / "s", []).draw_rounds(tmp_path / "rounds.txt")


def test_the_folder_of_the_picture_is_made(tmp_path):
    picture = tmp_path / "of" / "my" / "search" / "rounds.png"
    study(tmp_path / "s", []).draw_rounds(picture)
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_a_picture_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "pictures").write_text("in the way")
    with pytest.raises(StorageError, match=r"pictures/rounds\.png: "):
        study(tmp_path / "s", []).draw_rounds(tmp_path / "pictures" / "rounds.png")


@pytest.mark.parametrize("path", [None, 3, ""])
def test_a_picture_needs_the_name_of_a_file(tmp_path, path):
    with pytest.raises(ConfigError, match=f"draw_rounds.path=. needs the name of a file, got {path!r}"):
        study(tmp_path / "s", []).draw_rounds(path)
