"""The report's pictures among TensorBoard's images, at the end of a search."""

from __future__ import annotations

import importlib.util
import warnings

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_hp import Log, Study
from lightning_hp.tracking import images
from lightning_hp.tracking.images import LEAST_TRIALS


def shown(root):
    accumulator = EventAccumulator(str(root / "search"), size_guidance={"images": 0})
    accumulator.Reload()
    return {tag: accumulator.Images(tag)[-1] for tag in accumulator.Tags()["images"]}


SHORT = {"max_epochs": 1, "accelerator": "cpu"}


def short(search, **changes):
    arguments = {"space": {"lr": Log(1e-2, 1.0)}, "trainer": SHORT}
    return search(**arguments, trials=LEAST_TRIALS, **changes)


def test_a_search_ends_with_its_pictures_which_are_the_reports(search):
    study = short(search).run()
    found = shown(study.root)
    assert {"report/best", "report/hyperparameters", "report/importance", "report/times"} <= set(found)
    study.report()
    assert found["report/best"].encoded_image_string == (study.root / "report/best.png").read_bytes()
    assert found["report/best"].width > found["report/best"].height > 100


def test_pictures_are_drawn_anew_only_if_a_trial_has_ended_since(search, monkeypatch):
    root = short(search).run().root
    before, plain = shown(root), Study.pictures
    monkeypatch.setattr(Study, "pictures", lambda self: pytest.fail("drawn anew"))
    short(search).run()
    assert shown(root) == before
    monkeypatch.setattr(Study, "pictures", plain)
    search(space={"lr": Log(1e-2, 1.0)}, trainer=SHORT, trials=LEAST_TRIALS + 1).run()
    after = shown(root)
    assert set(after) >= set(before)
    assert after["report/best"].encoded_image_string != before["report/best"].encoded_image_string


def test_a_search_that_ends_while_trials_have_no_picture_yet_draws_them_in_its_next_run(search, monkeypatch):
    root = short(search).run().root
    with monkeypatch.context() as patch:
        patch.setattr("lightning_hp.loop.show_pictures", lambda folder, study: None)
        more = {"space": {"lr": Log(1e-2, 1.0)}, "trainer": SHORT, "trials": LEAST_TRIALS + 1}
        search(**more).run()
    assert shown(root) == {}
    search(**more).run()
    assert "report/best" in shown(root)


def test_a_few_trials_have_none(search):
    assert shown(search(trials=2).run().root) == {}


def test_without_matplotlib_a_search_ends_as_ever(search, monkeypatch):
    plain = importlib.util.find_spec
    monkeypatch.setattr(images, "find_spec", lambda name: None if name == "matplotlib" else plain(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study = short(search).run()
    assert study.counts == {"complete": LEAST_TRIALS}
    assert shown(study.root) == {}


def test_pictures_that_cannot_be_drawn_cost_no_search(search, monkeypatch):
    def broken(self):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(Study, "pictures", broken)
    with pytest.warns(UserWarning, match=r"lacks the search's pictures: ZeroDivisionError\('by zero'\)"):
        study = short(search).run()
    assert study.counts == {"complete": LEAST_TRIALS}
