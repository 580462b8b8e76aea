"""What is shown of warnings while trials train one after another in one process."""

from __future__ import annotations

import warnings

import pytest
from torch import nn

from lightning_hp.fit.quiet import quiet
from tests.fit.fused.digits import Classifier, trained


@pytest.fixture
def shown(monkeypatch):
    """The warnings that come through, by Python's own rule of when a warning is one that was shown before."""
    found = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *where: found.append(str(message)))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield found


def warn(text):
    # As each fit does somewhere within torch; Python then takes all that was shown for new.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
    warnings.warn(text, UserWarning, stacklevel=1)


def test_a_warning_of_every_trial_is_shown_once_and_others_are_shown_as_well(shown):
    with quiet():
        for number in range(3):
            warn("no accelerator for pinned memory")
            warn(f"trial {number} starts from zero")
    assert shown == [
        "no accelerator for pinned memory",
        *(f"trial {number} starts from zero" for number in range(3)),
    ]


def test_the_next_search_shows_it_again(shown):
    for _ in range(2):
        with quiet():
            warn("it is old")
    assert shown == ["it is old"] * 2


def test_where_all_is_asked_for_all_is_shown(shown):
    with quiet(verbose=True):
        for _ in range(3):
            warn("it is old")
    assert shown == ["it is old"] * 3


class Broadcasting(Classifier):
    """Has torch warn in both steps, of their lines."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + 0 * nn.functional.mse_loss(self.net(batch[0])[:, :1], batch[1].float())

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", nn.functional.mse_loss(self.net(batch[0])[:, :1], batch[1].float()))


@pytest.mark.parametrize("together", [False, True])
def test_each_line_is_told_once_as_the_users_in_fused_fits_too(tmp_path, monkeypatch, together):
    told = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, category, *place: told.append((str(message), *place[:2])))
    first = Broadcasting.training_step.__code__.co_firstlineno
    with warnings.catch_warnings(), quiet():
        warnings.filterwarnings("default", message="Using a target size")
        trained(Broadcasting, tmp_path, together)
    assert {(file, line) for _, file, line in told} == {(__file__, first + 1), (__file__, first + 4)}
    assert len(told) == len(set(told))
