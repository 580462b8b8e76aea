"""Trials' folders as they come to another place: the same, whatever is done to the files, and whenever it ends."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_hp import StorageError
from lightning_hp.errors import LightningHPError
from lightning_hp.executors.ray import mirror as mirror_module
from lightning_hp.executors.ray.mirror import Copy, Gone, Mirror, Piece, Same
from lightning_hp.trial import trial_folder

BEST, LAST, PREVIOUS = "checkpoints/best.ckpt", "checkpoints/last.ckpt", "checkpoints/last.previous.ckpt"
EVENTS = "events.out.tfevents.1.host.2.0"
ODD = "sub folder/line\nbreak ☃ \udcff %s"


class Places:
    """A study's folder here and there, and what brings the one to the other."""

    def __init__(self, folder, numbers=(0, 1)):
        self.here, self.there = folder / "here", folder / "there"
        self.mirror = Mirror(self.here, numbers)
        self.copy = Copy(self.there)

    def file(self, name, number=0):
        path = trial_folder(self.here, number) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write(self, name, data, number=0):
        """As a checkpoint is written: beside, then renamed."""
        path = self.file(name, number)
        new = path.with_name(".new")
        new.write_bytes(data)
        new.replace(path)
        return path

    def bring(self):
        """Brings over what has changed; gives it."""
        changes = [change for batch in self.mirror.changes() for change in batch]
        for change in changes:
            self.copy.apply(change)
        return changes


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path)


def tree(root):
    """The files below a folder and what is in them; what counts as empty or half done must not be there."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def settle():
    """Waits until nothing can be written any more in the same tick of the file system's clock."""
    time.sleep(2 * mirror_module._TICK / 1e9)


NAMES = st.sampled_from([BEST, LAST, EVENTS, "hparams.yaml", "a", "a/b", "a/b/c", f"a/{EVENTS}", ODD])
NUMBERS = st.sampled_from([0, 1])
FILES = st.tuples(NAMES, NUMBERS)
DATA = st.integers(0, 200).map(lambda size: os.urandom(size))
OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["write", "append", "replace"]), FILES, DATA),
    st.tuples(st.just("truncate"), FILES, st.integers(0, 100)),
    st.tuples(st.just("delete"), FILES, st.none()),
    st.tuples(st.sampled_from(["link", "symlink"]), FILES, FILES),
    st.tuples(st.just("forget"), FILES, st.none()),
)


def operate(places, kind, name, argument):
    """Does to a file what a fit may do; what cannot be done, such as to truncate what is not there, is left."""
    with suppress(OSError):
        path = trial_folder(places.here, name[1]) / name[0]
        if kind == "forget":
            shutil.rmtree(trial_folder(places.here, name[1]))
            return
        if kind == "delete":
            path.unlink()
            return
        if kind == "truncate":
            os.truncate(path, argument)
            return
        for parent in list(path.relative_to(places.here).parents)[:-3]:
            if (places.here / parent).is_file():
                (places.here / parent).unlink()
        if path.is_dir():
            shutil.rmtree(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "write":
            path.write_bytes(argument)
        elif kind == "append":
            with path.open("ab") as file:
                file.write(argument)
        elif kind == "replace":
            places.write(name[0], argument, name[1])
        else:
            new, other = path.with_name(".new"), trial_folder(places.here, argument[1]) / argument[0]
            new.unlink(missing_ok=True)
            if kind == "link":
                os.link(other, new)
            else:
                new.symlink_to(os.path.relpath(other, new.parent))
            new.replace(path)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.lists(OPERATIONS, max_size=6), st.lists(OPERATIONS, max_size=6)), min_size=1, max_size=4))
def test_whatever_is_done_to_the_files_those_at_the_other_place_become_the_same(rounds):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # So that there are several pieces.
        patch.setattr(mirror_module, "PIECE", 50)
        patch.setattr(mirror_module, "_LEAST", 20)
        patch.setattr(os, "fsync", lambda _: None)
        places = Places(Path(folder))
        for before, during in rounds:
            for operation in before:
                operate(places, *operation)
            waiting = list(during)
            for batch in places.mirror.changes():
                for change in batch:
                    places.copy.apply(change)
                if waiting:
                    operate(places, *waiting.pop())
            places.bring()
            assert tree(places.there) == {name: data for name, data in tree(places.here).items() if not name.endswith("/.new")}


def test_nothing_is_told_of_what_has_not_changed(places):
    places.write(LAST, b"1")
    places.file(EVENTS).write_bytes(b"1")
    settle()
    assert len(places.bring()) == 2
    assert places.bring() == []
    places.mirror.accept()
    assert places.bring() == []


def test_of_an_event_file_only_what_is_new_is_told(places):
    path = places.file(EVENTS)
    path.write_bytes(bytes(1000))
    places.bring()
    with path.open("ab") as file:
        file.write(b"new")
    assert places.bring() == [Piece(f"trials/000000/{EVENTS}", 1000, b"new", grows=True, last=True)]
    assert tree(places.there) == tree(places.here)


def test_an_event_file_that_was_removed_at_the_other_place_stays_removed(places):
    path = places.file(EVENTS)
    path.write_bytes(b"old")
    places.bring()
    shutil.rmtree(places.there)
    with path.open("ab") as file:
        file.write(b"new")
    places.bring()
    assert tree(places.there) == {}


def test_a_file_that_is_changed_again_within_a_tick_of_the_clock_and_keeps_its_size_is_told_again(places):
    path = places.file("state.bin")
    path.write_bytes(b"one")
    status = path.stat()
    places.bring()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    places.bring()
    assert tree(places.there) == {"trials/000000/state.bin": b"two"}


def test_pieces_are_bounded_and_so_is_what_is_told_at_a_time(places, monkeypatch):
    monkeypatch.setattr(mirror_module, "PIECE", 1000)
    places.write(LAST, os.urandom(10_300))
    for number in range(50):
        places.write(f"empty {number}", b"")
        places.write(f"small {number}", bytes(30))
    batches = list(places.mirror.changes())
    assert max(len(change.data) for batch in batches for change in batch) == 1000
    assert max(sum(len(change.data) for change in batch) for batch in batches) < 2000
    assert max(map(len, batches)) <= 4
    for batch in batches:
        for change in batch:
            places.copy.apply(change)
    assert tree(places.there) == tree(places.here)


def test_a_checkpoint_is_never_half_there_and_an_interrupted_transfer_leaves_the_one_before(places, monkeypatch):
    monkeypatch.setattr(mirror_module, "PIECE", 100)
    places.write(LAST, b"1" * 950)
    places.bring()
    places.write(LAST, b"2" * 950)
    changes = [change for batch in places.mirror.changes() for change in batch]
    for change in changes[:-1]:
        places.copy.apply(change)
        assert (trial_folder(places.there, 0) / LAST).read_bytes() == b"1" * 950
    assert len(tree(places.there)) == 2
    places.copy.drop_parts([0])
    assert tree(places.there) == {f"trials/000000/{LAST}": b"1" * 950}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=15))
def test_the_weights_that_a_checkpoint_says_are_there_are_there_at_each_moment(epochs):
    """An epoch may end between any two pieces; then ``best.ckpt`` is written, and ``last.ckpt`` that says which it is."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirror_module, "PIECE", 8)
        patch.setattr(os, "fsync", lambda _: None)
        places, epoch = Places(Path(folder)), 0
        coming = [kind for count, is_better in epochs for kind in [*[None] * count, is_better]]
        for _ in range(4):
            for batch in places.mirror.changes():
                for change in batch:
                    places.copy.apply(change)
                    check_best(trial_folder(places.there, 0))
                kind = coming.pop() if coming else None
                if kind is not None:
                    epoch += 1
                    best = epoch if kind else 0
                    if kind:
                        places.write(BEST, f"{epoch:030d}".encode())
                    places.write(LAST, f"{max(best, newest(places.file(BEST))):030d}".encode())
            epoch += 1
            places.write(BEST, f"{epoch:030d}".encode())
            places.write(LAST, f"{epoch:030d}".encode())


def newest(path):
    return int(path.read_bytes()) if path.exists() else 0


def check_best(folder):
    if (folder / LAST).exists():
        assert newest(folder / BEST) >= newest(folder / LAST)


def test_between_its_two_renames_a_checkpoint_is_not_gone(places):
    places.write(LAST, b"1")
    places.bring()
    places.file(LAST).replace(places.file(PREVIOUS))
    assert places.bring() == []
    assert tree(places.there) == {f"trials/000000/{LAST}": b"1"}
    places.write(LAST, b"2")
    places.bring()
    assert tree(places.there) == {f"trials/000000/{LAST}": b"2"}
    shutil.rmtree(places.here)
    places.bring()
    assert tree(places.there) == {}


def test_the_checkpoint_before_the_last_one_goes_where_a_trial_is_to_go_on(places):
    places.write(LAST, b"2")
    places.write(PREVIOUS, b"1")
    mirror = Mirror(places.here, [0], previous=True)
    for batch in mirror.changes():
        for change in batch:
            places.copy.apply(change)
    assert tree(places.there) == tree(places.here)


def test_the_checkpoint_of_a_fused_job_goes_once_and_is_there_under_each_of_its_names(tmp_path):
    places = Places(tmp_path, range(16))
    for content in (b"1" * 1000, b"2" * 1000):
        first = places.write(LAST, content)
        for number in range(1, 16):
            path = places.file(LAST, number)
            path.unlink(missing_ok=True)
            os.link(first, path)
        changes = places.bring()
        assert [type(change) for change in changes] == [Piece] + [Same] * 15
        assert tree(places.there) == tree(places.here)
    assert len({(places.there / name).stat().st_ino for name in tree(places.there)}) == 1


def test_where_the_other_file_system_has_no_links_each_name_has_a_file_of_its_own(places, monkeypatch):
    os.link(places.write(LAST, b"1"), places.file(LAST, 1))

    def no_links(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", no_links)
    places.bring()
    assert tree(places.there) == tree(places.here)


def test_a_file_that_is_a_link_already_leaves_nothing_behind(places):
    places.write("a", b"1")
    places.bring()
    for _ in range(2):
        places.copy.apply(Same("trials/000000/b", "trials/000000/a"))
    assert set(tree(places.there)) == {"trials/000000/a", "trials/000000/b"}


def test_the_link_that_model_checkpoint_makes_comes_as_the_file_that_it_leads_to(places):
    places.write("checkpoints/epoch=0.ckpt", b"1")
    places.file("checkpoints/last-user.ckpt").symlink_to("epoch=0.ckpt")
    places.file("loop").symlink_to("loop")
    places.file("nowhere").symlink_to("nothing")
    places.bring()
    assert tree(places.there) == {
        "trials/000000/checkpoints/epoch=0.ckpt": b"1",
        "trials/000000/checkpoints/last-user.ckpt": b"1",
    }


def test_files_of_any_name_come(places):
    for name in (ODD, "n" * 255, "-rf", "*", "trailing. ", "👩‍🔬"):
        places.write(name, name.encode(errors="replace")) if len(name) < 250 else places.file(name).write_bytes(b"long")
    places.bring()
    assert tree(places.there) == tree(places.here)


def test_what_belongs_to_the_process_that_trains_stays_there(places):
    for name in ("babysit.lock", "babysit.requests/1.request", "snapshot-good.rank0.pt", ".hidden"):
        places.file(name).write_bytes(b"1")
    places.write("babysit.jsonl", b"1")
    places.write("sub/babysit.lock", b"1")
    places.bring()
    assert set(tree(places.there)) == {"trials/000000/babysit.jsonl", "trials/000000/sub/babysit.lock"}


def test_of_a_trial_that_is_over_nothing_more_is_told(places):
    places.write("a", b"1")
    places.write("a", b"1", number=1)
    places.bring()
    places.mirror.leave(0)
    places.write("a", b"2")
    places.write("a", b"2", number=1)
    places.bring()
    assert tree(places.there) == {"trials/000000/a": b"1", "trials/000001/a": b"2"}
    places.mirror.remove()
    assert tree(places.here) == {}


@pytest.mark.parametrize(
    "path", ["study.db", "trials/x", "../trials/000000/x", "/trials/0/x", "trials/../../x/y", "", "trials"]
)
@pytest.mark.parametrize("change", ["piece", "same", "gone"])
def test_a_path_that_is_in_no_trials_folder_is_refused(places, path, change):
    places.write("a", b"1")
    places.bring()
    before = tree(places.there)
    if change == "piece":
        changes = [Piece(path, 0, b"x", grows=False, last=True)]
    elif change == "same":
        changes = [Same(path, "trials/000000/a"), Same("trials/000000/b", path)]
    else:
        changes = [Gone(path)]
    for each in changes:
        with pytest.raises(LightningHPError, match="in no trial's folder"):
            places.copy.apply(each)
    assert tree(places.there) == before


def test_on_a_full_disk_the_file_before_stays_and_nothing_is_left_half(places, disk):
    there = disk("size=400k")
    places.copy = Copy(there)
    places.write(LAST, b"1" * 200_000)
    places.bring()
    before = tree(there)
    places.write(LAST, b"2" * 300_000)
    with pytest.raises(StorageError, match=r"last\.ckpt: No space left on device"):
        places.bring()
    assert tree(there) == before


def test_a_disk_that_cannot_be_written_is_told(places, disk):
    places.copy = Copy(disk("size=400k"))
    places.write("a", b"1")
    disk("ro")
    with pytest.raises(StorageError, match="Read-only file system"):
        places.bring()
