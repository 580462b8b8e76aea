"""babysit.jsonl: strict JSON, the documented keys, and enough to replay the fit's lr and momentum."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_hp import Babysitter
from lightning_hp.babysit.log import FILE, Intervention, append, read
from lightning_hp.babysit.policy import Knobs

KNOBS = st.builds(Knobs, lr=st.floats(0, 1e3) | st.just(math.inf), momentum=st.none() | st.floats(0, 1))
INTERVENTIONS = st.builds(
    Intervention,
    epoch=st.integers(0, 10**6),
    step=st.integers(0, 10**12),
    reason=st.text(),
    before=st.lists(KNOBS, min_size=1, max_size=3),
    after=st.lists(KNOBS, min_size=1, max_size=3),
)


def strict(line):
    """Parses a line as other languages would, which know no NaN."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(line, parse_constant=refuse)


def lines_in(folder):
    file = Path(folder) / FILE
    return file.read_text().splitlines() if file.exists() else []


def lines_of(trainer):
    return lines_in(trainer.log_dir)


@pytest.mark.parametrize("score", [1.0, math.nan, math.inf, -math.inf])
def test_every_line_is_strict_json_with_the_documented_keys(fit, scripted, score):
    lines = lines_of(fit(scripted([score]), Babysitter("score", patience=1)))
    assert len(lines) >= 1
    for record in map(strict, lines):
        assert list(record) == [field.name for field in fields(Intervention)]
        assert json.loads(json.dumps(record, allow_nan=False)) == record
        assert isinstance(record["epoch"], int)
        assert isinstance(record["step"], int)
        assert "score is " in record["reason"]
        assert record["before"][0].keys() == record["after"][0].keys() == {"lr", "momentum"}


def test_momentum_is_null_where_there_is_none(fit, scripted):
    class Adagrad(scripted):
        def on_train_batch_start(self, batch, batch_idx):
            pass

        def configure_optimizers(self):
            return torch.optim.Adagrad(self.parameters(), lr=0.1)

    record = strict(lines_of(fit(Adagrad(), Babysitter("score", patience=1)))[0])
    assert record["before"] == [{"lr": 0.1, "momentum": None}]
    assert record["after"] == [{"lr": pytest.approx(0.02), "momentum": None}]


def test_the_log_replays_the_course_of_lr_and_momentum(fit, scripted):
    module = scripted()
    trainer = fit(module, Babysitter("score", patience=0, cooldown=1, factor=0.5, min_lr=0.01, max_momentum=0.98), epochs=12)
    lrs, momenta, knobs = [], [], {"lr": 0.1, "momentum": 0.9}
    records = {record["step"]: record for record in map(strict, lines_of(trainer))}
    for step in module.steps:
        if step in records:
            assert records[step]["before"] == [knobs]
            (knobs,) = records[step]["after"]
        lrs.append(knobs["lr"])
        momenta.append(knobs["momentum"])
    assert lrs == module.lrs
    assert momenta == module.momenta
    assert len(records) >= 4


def test_epoch_and_step_are_those_of_the_first_batch_with_the_new_values(fit, scripted):
    module = scripted()
    records = [strict(line) for line in lines_of(fit(module, Babysitter("score", patience=1)))]
    changed = [at for at in range(1, len(module.lrs)) if module.lrs[at] != module.lrs[at - 1]]
    assert [(record["epoch"], record["step"]) for record in records] == [(at // 3, module.steps[at]) for at in changed]


@given(interventions=st.lists(INTERVENTIONS, max_size=4))
def test_what_is_written_is_read_back(tmp_path_factory, interventions):
    folder = tmp_path_factory.mktemp("log") / "deeper"
    for intervention in interventions:
        append(intervention, folder / FILE)
    assert read(folder / FILE) == interventions
    assert len([strict(line) for line in lines_in(folder)]) == len(interventions)


def test_an_lr_that_is_infinite_or_nan_is_written_and_read_back(fit, scripted, interventions):
    class Broken(scripted):
        def configure_optimizers(self):
            first, *rest = self.parameters()
            groups = [{"params": [first], "lr": math.inf}, {"params": rest}]
            return torch.optim.SGD(groups, lr=0.1, momentum=0.9)

        def optimizer_step(self, epoch, batch_idx, optimizer, optimizer_closure):
            optimizer_closure()

    trainer = fit(Broken(), Babysitter("score", patience=1), epochs=4)
    (line,) = lines_of(trainer)
    assert strict(line)["before"][0] == {"lr": "inf", "momentum": 0.9}
    (intervention,) = interventions(trainer)
    assert intervention.before == [Knobs(math.inf, 0.9), Knobs(0.1, 0.9)]
    assert intervention.after[0] == Knobs(math.inf, 0.9)


@pytest.mark.parametrize("reason", ["Is a directory", "No space left on device"])
def test_a_log_that_cant_be_written_is_one_warning_with_the_reason_and_the_fit_goes_on(
    fit, scripted, events, tmp_path, recwarn, reason
):
    file = tmp_path / "run" / FILE

    class Blocked(scripted):
        def on_train_epoch_start(self):
            if self.current_epoch == 1:
                file.mkdir() if reason == "Is a directory" else file.symlink_to("/dev/full")

    module = Blocked()
    fit(module, Babysitter("score", patience=1))
    assert module.lrs[-1] == pytest.approx(0.004)
    (told,) = [str(each.message) for each in recwarn if "Babysitter" in str(each.message)]
    assert told.startswith(f"Babysitter can't write {file}, training goes on without this log: ")
    assert reason in told
    assert [step for step, _ in events(tmp_path / "run")["babysit/lr"]] == [9, 15]


def test_a_fit_whose_old_log_cant_be_read_is_babysat_all_the_same(fit, scripted, tmp_path, recwarn):
    (tmp_path / "run" / FILE).mkdir(parents=True)
    babysitter = Babysitter("score", patience=1)
    fit(scripted(), babysitter)
    assert babysitter.interventions == 2
    assert len([each for each in recwarn if "Babysitter can't write" in str(each.message)]) == 1


def test_two_babysitters_that_act_in_one_step_tell_which_metric_was_whose(fit, scripted, interventions):
    class Two(scripted):
        def validation_step(self, batch, batch_idx):
            self.log("other", 2.0)

    trainer = fit(Two(), Babysitter("score", patience=1), Babysitter("other", patience=1), epochs=4)
    first, second = interventions(trainer)
    assert first.step == second.step == 9
    assert first.reason.startswith("plateau: score is 1")
    assert second.reason.startswith("plateau: other is 2")
    assert first.after == second.before


def test_no_file_is_no_intervention(tmp_path):
    assert read(tmp_path / FILE) == []


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ([Knobs(0.1, 0.9)], [Knobs(0.05, 0.95)], "stalled: lr 0.1 -> 0.05, momentum 0.9 -> 0.95"),
        ([Knobs(0.1, 0.9)], [Knobs(0.05, 0.9)], "stalled: lr 0.1 -> 0.05"),
        ([Knobs(0.1, 0.9)], [Knobs(0.1, 0.95)], "stalled: momentum 0.9 -> 0.95"),
        ([Knobs(0.1, None)], [Knobs(0.05, None)], "stalled: lr 0.1 -> 0.05"),
        ([Knobs(0.1, 0.0), Knobs(1e-5, 0.9)], [Knobs(0.05, 0.0), Knobs(5e-6, 0.95)], None),
    ],
)
def test_the_sentence_says_what_changed_and_only_that(before, after, sentence):
    told = Intervention(3, 90, "stalled", before, after).sentence()
    assert told == (sentence or "stalled: lr 0.1, 1e-05 -> 0.05, 5e-06, momentum 0, 0.9 -> 0, 0.95")
