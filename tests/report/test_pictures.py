"""What the pictures show: figures whose truth is known, and where they are drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from lightning_hp import Choice, Int, Linear, Log, LogInt, ReverseLog, Space, Trial
from lightning_hp.report import Searched, style
from lightning_hp.report.bootstrap import best_of
from lightning_hp.report.captions import caption
from lightning_hp.report.pictures import PICTURES
from lightning_hp.report.pictures.best import draw_best, running_best
from lightning_hp.report.pictures.curves import draw_curves
from lightning_hp.report.pictures.hyperparameters import draw_hyperparameters
from lightning_hp.report.pictures.isolation import bins
from lightning_hp.report.pictures.parallel import draw_parallel
from lightning_hp.report.pictures.times import busy_times, draw_times, elapsed, lanes
from lightning_hp.report.rendered import pngs
from lightning_hp.report.style import RANKS, look, rank_colours
from lightning_hp.report.ticks import labels
from lightning_hp.report.window import window
from tests.advice.studies import trials as advised
from tests.report.made import SPACE, study, trial, trials


@pytest.fixture(autouse=True)
def _in_the_reports_look():
    with look():
        yield


def searched(root, made, space=SPACE, **asked):
    return study(root, made, space, **asked)._for_report()


def texts(axes):
    return [each.get_text() for each in axes.texts]


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("count", [1, 3, 10])
def test_the_band_is_what_drawing_gives(mode, count):
    generator = np.random.default_rng(0)
    values = generator.normal(size=30)
    drawn = generator.choice(values, (20_000, count))
    bests = drawn.min(axis=1) if mode == "min" else drawn.max(axis=1)
    for quantile in (0.05, 0.5, 0.95):
        (told,) = best_of(values, mode, [count], quantile)
        share = quantile if mode == "min" else 1 - quantile
        # Up to the luck of drawing.
        assert np.quantile(bests, max(share - 0.015, 0)) <= told <= np.quantile(bests, min(share + 0.015, 1))


def test_a_trial_without_a_value_counts_among_those_drawn():
    values = np.array([1.0, 2.0, np.nan, np.nan])
    assert [best_of(values, "min", [1], quantile)[0] for quantile in (0.05, 0.5, 0.95)] == [1.0, 2.0, math.inf]


def test_the_best_so_far_never_gets_worse():
    assert running_best(np.array([np.nan, 1.0, 3.0, np.nan, 2.0, 4.0]), "max")[1:].tolist() == [1.0, 3.0, 3.0, 3.0, 4.0]


def test_bins_hold_their_trials_and_their_best():
    units, values = np.array([0.05, 0.1, 0.15, 0.9, np.nan]), np.array([3.0, 1.0, 2.0, 5.0, 0.0])
    low, high = bins(Linear(0.0, 1.0), units, values, "min")
    assert (low.low, low.high, low.best, low.count) == (0.0, 0.5, 1.0, 3)
    assert (high.best, high.sure, high.count) == (5.0, 5.0, 1)
    # Three draws of three: the best one is missed in 8 of 27 cases, the best two in 1 of 27.
    assert low.sure == 2.0
    assert bins(Linear(0.0, 1.0), units, values, "max")[0].best == 3.0


@pytest.mark.parametrize(("scale", "parts"), [(Choice("a", "b", "c"), 3), (Int(1, 2), 2)])
def test_bins_of_few_values_are_those_values(scale, parts):
    units = np.array([scale.to_unit(value) for value in scale.grid(3)] * 20)
    assert len(bins(scale, units, np.arange(len(units), dtype=float), "min")) == parts


@pytest.mark.parametrize(
    ("scale", "told"),
    [
        (Log(1e-4, 1.0), ["0.0001", "0.001", "0.01", "0.1", "1"]),
        (Log(0.02, 0.3), ["0.02", "0.05", "0.1", "0.3"]),
        (ReverseLog(0.5, 0.999), ["0.5", "0.9", "0.99", "0.999"]),
        (ReverseLog(0.0, 0.99), ["0", "0.5", "0.8", "0.9", "0.95", "0.98", "0.99"]),
        (LogInt(16, 256), ["16", "32", "64", "128", "256"]),
        (Linear(0.0, 0.5), ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        (Int(1, 3), ["1", "2", "3"]),
        (Int(50, 100), ["50", "60", "70", "80", "90", "100"]),
        (Linear(-1e6, 1e6), ["-1e6", "-5e5", "0", "5e5", "1e6"]),
        (Choice("relu", None, 0.5), ["relu", "None", "0.5"]),
    ],
)
def test_axes_are_labelled_at_round_numbers_and_both_ends(scale, told):
    places, shown = labels(scale)
    assert shown == told
    assert places == sorted(places)


@pytest.mark.parametrize("low", [1e-9, 0.013, 0.5, 0.97])
@pytest.mark.parametrize("times", [1.001, 1.7, 30.0, 1e8])
def test_labels_never_touch(low, times):
    scales = [Linear(low, low * times), Log(low, low * times)]
    scales += [ReverseLog(low, 1 - (1 - low) / times)]
    for scale in scales:
        places, _ = labels(scale, 0.15)
        assert min(np.diff(places)) >= 0.15 - 1e-9


def test_a_window_shows_the_best_whole_and_leaves_out_what_would_squeeze_them():
    values = np.array([*np.linspace(1.0, 2.0, 20), 1e6, np.nan])
    shows = window(values, "min")
    assert shows.low < 1.0 < 2.0 < shows.high < 10
    assert shows.beyond(values[:-1]).sum() == 1
    shows = window(-values, "max")
    assert -10 < shows.low < -2.0 < -1.0 < shows.high
    assert window(np.geomspace(1e-3, 10.0, 20), "min").log
    assert not window(np.linspace(0.0, 1.0, 20), "min").log


def test_ranks_have_their_colours_and_the_rest_of_many_is_grey():
    assert rank_colours(3)[0] == rank_colours(300)[0] == RANKS[0]
    assert rank_colours(300)[-1] == RANKS[-1]
    assert len(set(rank_colours(2000)[:100])) == len(RANKS)
    assert set(rank_colours(2000)[100:]).isdisjoint(RANKS)
    assert rank_colours(0) == []


def test_curves_name_the_best_and_cross_those_that_ended_badly(tmp_path):
    made = searched(tmp_path, trials(["complete"] * 5 + ["failed", "diverged", "running"]))
    (axes,) = draw_curves(made, "wide").axes
    names = [text for text in texts(axes) if text.startswith("trial")]
    assert names == [f"trial {trial.number}" for trial in made.ranked[:3]]
    (crosses,) = [line for line in axes.lines if line.get_marker() == "x"]
    assert len(crosses.get_xdata()) == 2
    assert sum(len(lines.get_segments()) for lines in axes.collections) == 8


def test_a_trial_of_one_epoch_is_a_point(tmp_path):
    made = trials(["complete"] * 5)
    short = trial(5, made[0].hparams, "pruned", epochs=1)
    (axes,) = draw_curves(searched(tmp_path, [*made, short]), "wide").axes
    (points,) = [each for each in axes.collections if isinstance(each, PathCollection)]
    assert points.get_offsets().tolist() == [[1.0, short.value]]


def test_a_trial_may_have_logged_no_curve(tmp_path):
    made = trials(["complete"] * 3)
    made[0] = Trial(**{**vars(made[0]), "value": -1.0, "metrics": {}})
    (axes,) = draw_curves(searched(tmp_path, made), "narrow").axes
    assert "trial 0" not in texts(axes)


def test_the_best_so_far_is_the_leaderboards(tmp_path):
    made = searched(tmp_path, trials(["pruned", "complete", "failed", *["complete"] * 5]))
    (axes,) = draw_best(made, "narrow").axes
    (steps,) = [line for line in axes.lines if line.get_label() == "best so far"]
    assert steps.get_ydata()[-1] == made.best.value
    # A pruned trial is not the best, whatever its value.
    assert steps.get_xdata()[0] == 2


def test_an_end_at_which_the_best_crowd_is_marked(tmp_path):
    def objective(unit, hparams, generator):
        return (1 - unit["lr"]) + 0.02 * generator.standard_normal()

    space = Space({"lr": Log(1e-4, 1.0), "dropout": Linear(0.0, 0.5)})
    made = searched(tmp_path, advised(objective, space=space), space)
    assert ("lr", True) in made.findings.wider
    first, second = draw_hyperparameters(made, "wide").axes
    assert [line.get_linestyle() for line in first.lines[:2]] == ["-", "--"]
    assert [line.get_linestyle() for line in second.lines[:2]] == ["-", "-"]
    assert first.get_title(loc="left") == "lr"


def test_a_line_is_broken_where_a_trial_lacks_a_hyperparameter(tmp_path):
    made = searched(tmp_path, trials(["complete"] * 3))
    lacking = Searched(
        **{name: getattr(made, name) for name in ("root", "asked", "space", "rounds", "times", "findings")},
        trials=[Trial(**{**vars(each), "hparams": {"lr": each.hparams["lr"]}}) for each in made.trials],
    )
    (axes,) = draw_parallel(lacking, "wide").axes
    lines = axes.collections[0].get_paths()
    assert [np.isfinite(line.vertices[:, 1]).tolist() for line in lines] == [[True, False, False, False, True]] * 3


def test_of_very_many_trials_an_even_part_is_drawn_with_all_of_the_best_and_the_caption_says_so(tmp_path, monkeypatch):
    made = searched(tmp_path, trials(["complete"] * 880 + ["diverged"] * 20))
    assert "even part" not in caption("parallel", made)[1]
    monkeypatch.setattr(style, "MOST_SHOWN", 600)
    rest, best = draw_parallel(made, "wide").axes[0].collections
    assert (len(rest.get_paths()), len(best.get_paths())) == (390, style.MOST_COLOURED)
    drawn = style.thinned(made.ranked)
    assert drawn[: style.MOST_COLOURED] == made.ranked[: style.MOST_COLOURED]
    places = [made.ranked.index(trial) for trial in drawn[style.MOST_COLOURED :]]
    assert set(np.diff(places)) == {2}
    for name in ("curves", "hyperparameters", "parallel"):
        assert "of these 900 trials an even part is drawn" in caption(name, made)[1]
        assert PICTURES[name](made, "wide") is not None


def test_bars_of_trials_that_ran_together_lie_in_different_rows(tmp_path):
    generator = np.random.default_rng(0)
    spans = {n: (start, start + length) for n, (start, length) in enumerate(generator.random((60, 2)).tolist())}
    rows = lanes(spans)
    for one, (start, end) in spans.items():
        for other, (begin, stop) in spans.items():
            assert one == other or rows[one] != rows[other] or end <= begin or stop <= start
    most = max(sum(start <= moment < end for start, end in spans.values()) for moment, _ in spans.values())
    assert len(set(rows.values())) == most
    (axes,) = draw_times(searched(tmp_path, trials(["complete"] * 4 + ["failed"])), "wide").axes
    assert [shape.get_label() for shape in axes.collections] == ["complete", "failed or diverged"]


def test_time_in_which_nothing_ran_is_cut_out():
    busy = busy_times([(0.0, 10.0), (1000.0, 1010.0)])
    assert [elapsed(time, busy) for time in (0.0, 10.0, 500.0, 1000.0, 1010.0)] == [0.0, 10.0, 10.0, 10.0, 20.0]


def test_pictures_are_given_by_name_as_png(tmp_path):
    made = dict(pngs(searched(tmp_path, trials(["complete"] * 3))))
    assert list(made) == ["curves", "best", "hyperparameters", "parallel", "times"]
    assert all(content.startswith(b"\x89PNG") for content in made.values())
