"""``lightning-hp repair``: what is sound stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_hp import Study
from lightning_hp.study.store import Store


@pytest.fixture
def searched(run, config):
    """A finished study in ./study."""
    assert run(config, "search", "config.yaml").code == 0


def test_a_sound_study_is_left_alone(run, searched):
    before = {path: path.read_bytes() for path in Path("study").glob("study.db*")}
    result = run(None, "repair", "study")
    assert (result.code, result.err) == (0, "")
    assert (
        result.out
        == f"{Path('study').absolute()}: study.db is sound and has every trial that left a record: nothing to repair\n"
    )
    assert {path: path.read_bytes() for path in Path("study").glob("study.db*")} == before


def test_what_is_damaged_gone_or_lacks_a_trial_is_rebuilt(run, searched):
    file = Path("study/study.db")

    def damaged():
        file.write_bytes(b"no database" * 1000)

    def lacking():
        store = Store(Path("study"))
        store.forget([1])
        store.close()

    for spoil in (damaged, file.unlink, lacking):
        spoil()
        result = run(None, "repair", "study")
        assert result.code == 0, result.err
        assert "study.db has the 2 trials whose records could be read" in result.out
        assert len(Study("study").trials) == 2
        assert "nothing to repair" in run(None, "repair", "study").out
