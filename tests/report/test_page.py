"""The report as a reader gets it: one page that tells everything, whatever became of the trials."""

from __future__ import annotations

import builtins
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch

from lightning_hp import Choice, ConfigError, Linear, Log, Space, StorageError, Study
from lightning_hp.advice import find
from lightning_hp.report import Searched, write_report
from tests.report.made import SPACE, babysat, region, study, trained_on, trial, trials

PNG = b"\x89PNG\r\n\x1a\n"
ALL_STATES = ["complete"] * 20 + ["failed", "failed", "diverged", "pruned", "running", "waiting"]


class Page(HTMLParser):
    """What matters of a page: its sections, its text, what it refers to."""

    def __init__(self, path):
        super().__init__()
        self.sections, self.words, self.tags, self.ids, self.refers = [], [], [], set(), []
        self.raw = path.read_text(encoding="utf-8")
        self.feed(self.raw)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.tags.append(tag)
        self.ids.add(given.get("id"))
        self.refers += [value for key, value in attributes if key in ("src", "href", "xlink:href")]
        if tag == "section":
            self.sections.append(given["id"])

    def handle_data(self, text):
        self.words.append(text)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def page(made):
    return Page(made.report())


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """A study that has something to say in every section, and its page."""
    root = tmp_path_factory.mktemp("studies") / "study"
    made = study(root, trials(ALL_STATES), rounds=[region(SPACE, 12)], total=30, strategy="random")
    babysat(root, 3, ("decision", "it swings", ["adjust"]))
    return made, page(made)


def test_it_is_written_beside_its_pictures_and_its_path_is_told(everything):
    made, found = everything
    folder = made.root / "report"
    names = {"curves", "best", "hyperparameters", "isolation", "importance", "parallel", "rounds", "babysitter", "times"}
    assert {file.stem for file in folder.glob("*.png")} == names
    assert all(file.read_bytes().startswith(PNG) for file in folder.glob("*.png"))
    order = ["advice", "curves", "best", "hyperparameters", "isolation", "importance", "parallel", "rounds", "babysitter"]
    assert found.sections == [*order, "failures", "times", "reproduce"]


def test_the_headline_is_the_leaderboards_first(everything):
    made, found = everything
    best = made.best
    assert f"{best.value:.5g}" in found.text
    assert f"val_loss of trial {best.number} (smallest of 20, at epoch 6 of 6)" in found.text
    assert f"lr {best.hparams['lr']:.4g}" in found.text
    for counted in ("20 complete", "1 running", "5 waiting", "1 pruned", "2 failed", "1 diverged"):
        assert counted in found.text


def test_it_needs_no_other_file(everything):
    found = everything[1]
    assert not {"script", "link"} & set(found.tags)
    assert all(place.startswith(("#", "data:")) for place in found.refers)
    styled = re.findall(r"url\(([^)]*)\)", found.raw)
    assert all(place.startswith("#") for place in styled)
    # What its pictures are made of is there, each part once.
    assert {place[1:] for place in [*found.refers, *styled] if place.startswith("#")} <= found.ids
    identities = re.findall(r' id="([^"]*)"', found.raw)
    assert len(identities) == len(set(identities))


def test_its_colours_follow_the_screen(everything):
    raw = everything[1].raw
    assert "prefers-color-scheme: dark" in raw
    assert "width=device-width" in raw
    pictures = re.findall(r"<svg.*?</svg>", raw, re.DOTALL)
    # Each for a screen and for a phone.
    assert len(pictures) == 2 * 9
    assert all("var(--ink)" in picture and "#1f2933" not in picture for picture in pictures)


def test_the_best_trial_can_be_had_again(everything):
    made, found = everything
    best = made.best
    assert f"lightning-hp rerun {made.root} {best.number}" in found.text
    assert f"lightning-hp best {made.root}" in found.text
    assert f"lr={best.hparams['lr']!r}" in found.text
    assert f"seed of the trial {best.seed}" in found.text
    assert "seed of the search 7" in found.text
    assert "strategy random" in found.text


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("mine.Lit", "lightning-hp rerun"),
        ("__main__.Lit", "loop.rerun(0)"),
        ("mine.make.<locals>.lit", "loop.rerun(0)"),
        (None, "python SCRIPT rerun"),
    ],
)
def test_another_run_is_told_as_it_works(tmp_path, model, told):
    text = page(study(tmp_path / "s", trials(["complete"]), model=model)).text
    assert told in text


def test_weights_are_loaded_as_it_says(tmp_path):
    net, path = torch.nn.Linear(2, 1), tmp_path / "it's" / "best.ckpt"
    path.parent.mkdir()
    torch.save({"state_dict": net.state_dict()}, path)
    made = trials(["complete"])
    text = page(study(path.parent, [replace(made[0], checkpoint=path)])).text
    (line,) = re.findall(r"model\.load_state_dict\(.*?\[\"state_dict\"\]\)", text)
    model = torch.nn.Linear(2, 1)
    exec(line, {"model": model, "torch": torch})
    assert torch.equal(model.weight, net.weight)


def test_where_trials_trained_is_told_with_how_busy_it_was(tmp_path):
    made = study(tmp_path / "s", trials(["complete"] * 4))
    trained_on(made.root, 0, ("a", "cpu"), ("b", "NVIDIA H100"))
    trained_on(made.root, 1, ("a", "cpu"))
    trained_on(made.root, 2, ("b", "NVIDIA H100"))
    trained_on(made.root, 3)
    text = page(made).text
    assert "NVIDIA H100 of b 2 trials, busy 100% of the time" in text
    assert "cpu of a 1 trial, busy 50% of the time" in text
    machine = {0: "NVIDIA H100 of b", 1: "cpu of a", 2: "NVIDIA H100 of b"}.get(made.best.number)
    assert machine is None or f"trained on {machine}, 4 threads, torch 2.9" in text


def test_several_devices_of_one_name_are_told_by_how_many_trials_they_trained_at_a_time(tmp_path):
    # Three trials of one second each: two beside each other, and one by itself.
    made = study(tmp_path / "s", trials(["complete"] * 3))
    for number in range(3):
        trained_on(made.root, number, ("b", "NVIDIA H100"))
    assert "NVIDIA H100 of b 3 trials, 1.5 at a time, busy 100% of the time" in page(made).text


def test_the_same_study_gives_the_same_page(everything):
    made, found = everything
    assert Study(made.root).report().read_text(encoding="utf-8") == found.raw


def test_what_users_wrote_is_text_and_no_markup(tmp_path):
    space = Space({"lr": Log(1e-3, 1.0), "block": Choice("<b>x</b>", "$y$ & z")})
    made = [trial(n, h, "complete") for n, h in enumerate(space.sample(4))]
    made = [*made, trial(4, space.sample(1)[0], "failed", reason="<script>alert(1)</script>", traceback="<em>")]
    made = [type(each)(**{**vars(each), "metrics": {"<u>loss": each.metrics["val_loss"]}}) for each in made]
    found = page(study(tmp_path, made, space, monitor="<u>loss", model="<Lit>"))
    assert not {"b", "em", "u", "script"} & set(found.tags)
    assert "<script>alert(1)</script>" in found.text
    assert "$y$ & z" in found.text


@pytest.mark.parametrize("state", ["running", "waiting", "pruned", "failed", "diverged"])
def test_a_study_without_a_complete_trial_says_so(tmp_path, state):
    found = page(study(tmp_path, trials([state] * 3)))
    assert "No trial is complete yet." in found.text
    assert f"3 {state}" in found.text
    assert "reproduce" not in found.sections


def test_a_study_without_trials_is_a_page_too(tmp_path):
    assert "4 waiting" in page(study(tmp_path, [], total=4)).text


@pytest.mark.parametrize(
    ("scale", "mode"),
    [(Log(1e-3, 1.0), "min"), (Linear(0.0, 1.0), "max"), (Choice("a", "b", "c"), "min"), (Choice(None, 0.5), "max")],
)
def test_one_hyperparameter_of_any_scale_is_enough(tmp_path, scale, mode):
    made = trials(["complete"] * 14 + ["diverged"], Space({"only": scale}))
    found = page(study(tmp_path, made, Space({"only": scale}), mode=mode))
    assert {"curves", "best", "hyperparameters", "isolation", "parallel"} <= set(found.sections)


def test_trials_may_lack_hyperparameters_or_have_others(tmp_path):
    made = trials(["complete"] * 14)
    for each in made[::2]:
        each.hparams["act"] = "no such"
    study(tmp_path, made)
    for each in made[::3]:
        del each.hparams["layers"]
    found = find(SPACE, [], "min")
    asked = {"monitor": "val_loss", "mode": "min"}
    path = write_report(Searched(tmp_path, asked, SPACE, made, [], {}, found))
    assert {"hyperparameters", "isolation", "parallel"} <= set(Page(path).sections)


def test_equal_and_huge_values_are_drawn(tmp_path):
    made = [trial(n, h, value=v) for n, (h, v) in enumerate(zip(SPACE.sample(9), [0.5] * 8 + [1e30], strict=True))]
    assert "best" in page(study(tmp_path / "huge", made)).sections
    made = [trial(n, h, value=0.5, metrics={"val_loss": [0.5]}) for n, h in enumerate(SPACE.sample(9))]
    assert "curves" not in page(study(tmp_path / "equal", made)).sections


def test_failures_are_counted_by_their_reasons_and_tell_the_first_traceback(tmp_path):
    made = trials(["complete", "failed", "failed", "diverged", "diverged"])
    made[4] = trial(4, made[4].hparams, "diverged", reason="loss is nan in epoch 5")
    text = page(study(tmp_path, made)).text
    assert "failed 2 KeyError: 'none' 1-2" in text
    assert "diverged 2 loss is nan in epoch 3, and 1 alike 3-4" in text
    assert "traceback of trial 1 Traceback of mine" in text


def test_what_a_babysitter_did_is_told_with_its_reason(tmp_path):
    made = study(tmp_path, trials(["complete"] * 3))
    babysat(tmp_path, 1, ("decision", "kept", ["snapshot"]), ("decision", "it <swings>", ["adjust"]), ("signal", "slow", []))
    babysat(tmp_path, 2, ("decision", "nan", ["rollback", "adjust"]), ("request", "by hand", ["adjust"]))
    log = tmp_path / "trials/000002/babysit.jsonl"
    log.write_text(log.read_text() + '{"event": "deci')
    text = page(made).text
    assert "3 interventions in 2 trials" in text
    assert "1 1 10 it <swings> lr 0.1 → 0.05" in text
    assert "kept" not in text


def test_it_is_made_anew_each_time(tmp_path):
    made = study(tmp_path, trials(["complete"] * 8))
    babysat(tmp_path, 1, ("decision", "it swings", ["adjust"]))
    made.report()
    (tmp_path / "trials/000001/babysit.jsonl").unlink()
    made.report()
    assert not (tmp_path / "report/babysitter.png").exists()
    assert (tmp_path / "report/curves.png").exists()


@pytest.mark.slow
def test_of_very_many_trials_the_page_stays_small(tmp_path):
    path = study(tmp_path, trials((["complete"] * 19 + ["diverged"]) * 100)).report()
    assert path.stat().st_size < 4_000_000


def test_a_folder_that_takes_no_files_is_told(tmp_path):
    made = study(tmp_path, trials(["complete"]))
    (tmp_path / "report").write_text("in the way")
    with pytest.raises(StorageError, match=r"report: File exists: see that the folder can be written"):
        made.report()


def test_without_matplotlib_it_says_what_to_install(tmp_path, monkeypatch):
    made = study(tmp_path, trials(["complete"]))
    plain = builtins.__import__

    def without(name, *arguments, **settings):
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(name)
        return plain(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'lightning-hp\[plots\]'"):
        made.report()
    assert not (tmp_path / "report").exists()
