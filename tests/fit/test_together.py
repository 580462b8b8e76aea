"""One checkpoint file for several trials, and each trial's own cut out of it."""

from __future__ import annotations

import errno
import os

import pytest
import torch

from lightning_hp.errors import StorageError
from lightning_hp.fit.checkpoints import BEST, LAST, PREVIOUS, resumable
from lightning_hp.fit.together import Part, cut_out, write_together

TRIALS = 4
ROW = 10_000


def parts(root, step, trials=TRIALS, best=True):
    """Of trials whose weights are rows of one stack."""
    stack = torch.arange(float(trials * ROW)).view(trials, ROW) + step
    made = []
    for row in range(trials):
        record = {"identity": f"trial {row}", "best": 0.5, "epochs": step}
        last = {"state_dict": {"weight": stack[row]}, "callbacks": {"Reporter": record}, "global_step": step}
        weights = {"state_dict": {"weight": stack[row].clone() - 1}}
        made.append(Part(root / str(row), f"trial {row}", last, weights if best else None))
    return made


def read(path):
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("writes", [1, 2, 3])
def test_each_trial_gets_what_is_its_own(writes, tmp_path):
    for step in range(1, writes + 1):
        write_together(parts(tmp_path, step))
    for row, part in enumerate(parts(tmp_path, writes)):
        cut_out(part.folder, part.identity)
        found = resumable(part.folder, part.identity)
        assert (found.path, found.step) == (part.folder / LAST, writes)
        assert read(found.path)["callbacks"] == part.last["callbacks"]
        torch.testing.assert_close(read(found.path)["state_dict"], part.last["state_dict"])
        torch.testing.assert_close(read(part.folder / BEST)["state_dict"], part.best["state_dict"])
        assert sorted(path.name for path in part.folder.iterdir()) == [BEST, LAST], row


def test_there_is_one_file_and_each_row_is_in_it_once(tmp_path):
    made = parts(tmp_path, 1, best=False)
    write_together(made)
    status = [(part.folder / LAST).stat() for part in made]
    assert len({each.st_ino for each in status}) == 1
    assert status[0].st_nlink == TRIALS
    assert status[0].st_size < 1.1 * TRIALS * ROW * 4
    cut_out(made[0].folder, made[0].identity)
    assert (made[0].folder / LAST).stat().st_size < 1.1 * ROW * 4 + 4000


def test_what_is_cut_out_stays_as_it_is(tmp_path):
    (part, *_) = parts(tmp_path, 1)
    write_together(parts(tmp_path, 1))
    cut_out(part.folder, part.identity)
    before = {path.name: path.read_bytes() for path in part.folder.iterdir()}
    cut_out(part.folder, part.identity)
    assert {path.name: path.read_bytes() for path in part.folder.iterdir()} == before


def test_a_file_that_a_power_cut_has_truncated_leaves_the_one_before(tmp_path):
    for step in (1, 2):
        write_together(parts(tmp_path, step))
    made = parts(tmp_path, 1)
    with (made[0].folder / LAST).open("r+b") as file:
        file.truncate(1000)
    for part in made:
        cut_out(part.folder, part.identity)
        with pytest.warns(UserWarning, match=r"goes on from last\.previous\.ckpt"):
            found = resumable(part.folder, part.identity)
        assert (found.path, found.step) == (part.folder / PREVIOUS, 1)
        torch.testing.assert_close(read(part.folder / BEST)["state_dict"], part.best["state_dict"])


def test_another_trials_file_is_left(tmp_path):
    made = parts(tmp_path, 1)
    write_together(made)
    before = (made[0].folder / LAST).stat().st_ino
    cut_out(made[0].folder, "another")
    assert (made[0].folder / LAST).stat().st_ino == before
    with pytest.warns(UserWarning, match="starts from zero"):
        assert resumable(made[0].folder, "another") is None


def test_without_links_each_trial_has_its_own_file(tmp_path, monkeypatch):
    def link(*_):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    for step in (1, 2):
        write_together(parts(tmp_path, step))
    for part in parts(tmp_path, 2):
        assert resumable(part.folder, part.identity).step == 2
        torch.testing.assert_close(read(part.folder / BEST)["state_dict"], part.best["state_dict"])
        assert sorted(path.name for path in part.folder.iterdir()) == [BEST, LAST]


def test_a_full_disk_is_told_and_what_was_there_stays(tmp_path, monkeypatch):
    write_together(parts(tmp_path, 1))

    def link(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(StorageError, match="No space left"):
        write_together(parts(tmp_path, 2))
    for part in parts(tmp_path, 1):
        cut_out(part.folder, part.identity)
        assert resumable(part.folder, part.identity).step == 1
