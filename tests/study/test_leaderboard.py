"""A study as notebooks show it."""

from __future__ import annotations

from html.parser import HTMLParser

from lightning_hp import Choice, Log, Space, Study
from lightning_hp.study import Recorder
from lightning_hp.trial import Finished, Outcome, Started, Trial


def texts(html):
    found = []

    class Parser(HTMLParser):
        def handle_data(self, data):
            found.append(data)

    Parser().feed(html)
    return found


def test_a_study_is_its_best_trials_with_everything_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    space = Space({"lr": Log(1e-4, 1.0), "act": Choice(evil, "tanh")})
    asked = {"monitor": "acc & <more>", "mode": "max", "total": 14, "space": space.describe()}
    recorder = Recorder(tmp_path, asked, frozenset(), space)
    for number in range(12):
        recorder.record(Started(Trial(number, {"lr": 0.1, "act": evil}, 0), 0.0))
        recorder.record(Finished(number, Outcome("complete", number / 16, 3), 1.0))
    recorder.close()
    html = Study(tmp_path)._repr_html_()
    assert "<script>" not in html
    shown = texts(html)
    assert shown[0] == f"{tmp_path}: 12 of 14 trials complete, 2 waiting; best acc & <more> first (max)"
    assert shown[1:6] == ["trial", "acc & <more>", "epochs", "lr", "act"]
    assert shown[6:11] == ["11", "0.6875", "3", "0.1", evil]
    assert html.count("<tr>") == 11


def test_without_a_complete_trial_there_is_a_line_and_no_table(tmp_path):
    space = Space({"lr": Log(1e-4, 1.0)})
    recorder = Recorder(tmp_path, {"monitor": "acc", "mode": "max", "total": 2, "space": space.describe()}, frozenset(), space)
    recorder.close()
    html = Study(tmp_path)._repr_html_()
    assert texts(html) == [f"{tmp_path}: 0 of 2 trials complete, 2 waiting; best acc first (max)"]
    assert "<table>" not in html
