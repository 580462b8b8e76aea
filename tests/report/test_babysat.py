"""The picture of a babysat fit shows each curve on its scale, and says what was done."""

from __future__ import annotations

import math

import pytest

from lightning_hp.errors import ConfigError
from lightning_hp.report.babysat import MOST_WORDS, BabysatRun, Mark, draw_babysat

WENT_BACK = Mark(60, "went back", "the loss is nan: back to snapshot 'good', lr 0.1 -> 0.02")
MOVED = Mark(100, "moved", "val_loss costs $5 and $6: lr 0.02 -> 0.004, momentum 0.9 -> 0.95")


def run(**changes):
    shown = {
        "monitor": "val_loss",
        "values": [(20, 2.0), (40, 1.0), (60, math.nan), (80, 0.5), (100, 0.01)],
        "losses": [(step, 2.0 - step / 100) for step in range(0, 120, 5)],
        "lrs": [[(0, 0.1), (59, 0.1), (60, 0.02), (99, 0.02), (100, 0.004), (119, 0.004)]],
        "momenta": [[(0, 0.9), (99, 0.9), (100, 0.95), (119, 0.95)]],
        "marks": [WENT_BACK, MOVED],
        "discarded": [(40, 60)],
    }
    return BabysatRun(**{**shown, **changes})


def words(figure):
    return [text.get_text() for text in figure.texts]


def labels(figure):
    return [axes.get_ylabel() for axes in figure.axes]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_it_is_a_file_and_a_figure(tmp_path, ending):
    figure = draw_babysat(run(), tmp_path / f"fit.{ending}")
    assert (tmp_path / f"fit.{ending}").stat().st_size > 5000
    assert labels(figure) == ["val_loss", "training loss", "lr", "momentum"]


def test_lr_is_on_a_log_scale_and_momentum_by_its_distance_to_1():
    *_, lr, momentum = draw_babysat(run()).axes
    assert lr.get_yscale() == "log"
    heights = momentum.lines[0].get_ydata().tolist()
    assert heights == pytest.approx([1.0, 1.0, 1 + math.log10(2), 1 + math.log10(2)])
    ticks = dict(zip([label.get_text() for label in momentum.get_yticklabels()], momentum.get_yticks().tolist(), strict=True))
    assert ticks["0.9"] == pytest.approx(1.0)
    assert ticks["0.95"] == pytest.approx(1 + math.log10(2))


def test_a_metric_that_spans_decades_is_on_a_log_scale_and_any_other_as_it_is():
    assert draw_babysat(run()).axes[0].get_yscale() == "log"
    assert draw_babysat(run(values=[(20, 0.8), (40, 0.9)])).axes[0].get_yscale() == "linear"
    assert draw_babysat(run(values=[(20, -1.0), (40, 90.0)])).axes[0].get_yscale() == "linear"


def test_each_thing_done_is_a_line_and_a_sentence_with_its_number():
    figure = draw_babysat(run())
    assert [note.get_text() for note in figure.axes[0].texts] == ["1", "2"]
    for axes in figure.axes:
        verticals = [line.get_xdata()[0] for line in axes.lines if list(line.get_ydata()) == [0, 1]]
        assert verticals == [60, 100]
    assert words(figure) == [
        f"1.  step 60: {WENT_BACK.words}",
        f"2.  step 100: {MOVED.words}",
        "grey: 20 steps that were undone by going back",
    ]


def test_what_was_undone_is_shaded_and_the_curve_does_not_go_on_from_it():
    metric, loss, *_ = draw_babysat(run(values=[(20, 2.0), (60, 1.0), (80, 0.5)], losses=[(59, 2.0), (60, 1.0)])).axes
    (shade,) = metric.patches
    assert (shade.get_x(), shade.get_width()) == (40, 20)
    # The check at that step was made before it, the training step after.
    assert [math.isnan(value) for value in metric.lines[0].get_ydata()] == [False, False, True, False]
    assert [math.isnan(value) for value in loss.lines[0].get_ydata()] == [False, True, False]


def test_a_value_that_is_not_finite_is_a_cross_at_the_upper_edge():
    metric, *_ = draw_babysat(run()).axes
    (crosses,) = [line for line in metric.lines if line.get_marker() == "x"]
    assert (crosses.get_xdata().tolist(), crosses.get_ydata().tolist()) == ([60], [1])


def test_lines_that_stand_close_share_a_number_and_there_are_never_too_many_words():
    marks = [Mark(50, "skipped", "a spike"), *(Mark(80, "moved", f"move {n}") for n in range(MOST_WORDS))]
    figure = draw_babysat(run(marks=marks, discarded=[]))
    assert [note.get_text() for note in figure.axes[0].texts] == ["1", f"2-{MOST_WORDS + 1}"]
    assert len(words(figure)) == MOST_WORDS + 1
    assert words(figure)[-1] == "and 1 more in babysit.jsonl"


def test_what_there_is_not_has_no_part():
    assert labels(draw_babysat(run(losses=[], momenta=[], marks=[], discarded=[]))) == ["val_loss", "lr"]


def test_a_fit_of_which_nothing_is_known_is_an_empty_picture(tmp_path):
    nothing = run(values=[], losses=[], lrs=[], momenta=[], marks=[], discarded=[])
    assert labels(draw_babysat(nothing, tmp_path / "fit.png")) == ["val_loss"]


def test_momentum_of_0_and_lr_of_0_can_be_drawn(tmp_path):
    assert draw_babysat(run(lrs=[[(0, 0.0), (10, 0.1)]], momenta=[[(0, 0.0), (10, 0.0)]]), tmp_path / "fit.png")


def test_an_ending_that_matplotlib_does_not_know_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"fit\.docx"):
        draw_babysat(run(), tmp_path / "fit.docx")


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match=r"pip install 'lightning-hp\[plots\]'"):
        draw_babysat(run(), tmp_path / "fit.png")
