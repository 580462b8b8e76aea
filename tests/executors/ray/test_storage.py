"""Trials' files by way of a storage: the same at the other end, whoever dies meanwhile, and nothing left behind."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import uuid
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_hp import ConfigError, RayCluster, StorageError
from lightning_hp.executors.ray import mirror as mirror_module
from lightning_hp.executors.ray.baggage import Baggage
from lightning_hp.executors.ray.mirror import Copy, Gone, Mirror, Piece, Same
from lightning_hp.executors.ray.storage import Storage, StoredFiles
from lightning_hp.executors.ray.ways import ThroughStorage
from lightning_hp.trial import trial_folder
from tests.executors.ray.test_mirror import OPERATIONS, Places, operate

BEST, LAST = "checkpoints/best.ckpt", "checkpoints/last.ckpt"
EVENTS = "events.out.tfevents.1"


@pytest.fixture(params=["file", "memory"])
def url(request, tmp_path):
    if request.param == "file":
        yield (tmp_path / "storage").as_uri()
        return
    name = uuid.uuid4().hex
    yield f"memory://{name}"
    system = fsspec.filesystem("memory")
    if system.exists(f"/{name}"):
        system.rm(f"/{name}", recursive=True)


def tree(root):
    """What is in the trials' folders."""
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("trials/**/*") if path.is_file()}


def refuse(changes):
    raise AssertionError("nothing goes through Ray")


def stored(url):
    system, path = fsspec.core.url_to_fs(url)
    return system.find(path)


def put(root, name, data, number=0):
    path = trial_folder(root, number) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(".new")
    new.write_bytes(data)
    new.replace(path)


def brought(url, root, numbers=(0,)):
    for batch in StoredFiles(url).changes(numbers):
        for change in batch:
            Copy(root).apply(change)
    return tree(root)


class Machine:
    """One that trains: it has a parcel, and a folder of its own."""

    def __init__(self, folder, numbers, parcel):
        self.root = folder
        self.baggage = Baggage(folder, numbers, parcel)

    def pass_on(self):
        assert list(self.baggage.news(at_once=True)) == []


def test_what_was_put_there_comes_out_the_same(url, tmp_path, monkeypatch):
    monkeypatch.setattr(mirror_module, "PIECE", 1000)
    here = tmp_path / "here"
    for number in (0, 1):
        put(here, LAST, os.urandom(5500), number)
        put(here, "sub folder/line\nbreak ☃", b"", number)
    StoredFiles(f"{url}/1").put(Mirror(here, [0, 1]).changes())
    assert StoredFiles(f"{url}/1").numbers == [0, 1]
    assert brought(f"{url}/1", tmp_path / "there", [0, 1]) == tree(here)
    assert set(brought(f"{url}/1", tmp_path / "alone", [1])) == {name for name in tree(here) if "000001" in name}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.lists(OPERATIONS, max_size=6), st.lists(OPERATIONS, max_size=6)), min_size=1, max_size=3))
def test_whatever_is_done_to_the_files_those_of_the_study_become_the_same(rounds):
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(mirror_module, "PIECE", 50)
        patch.setattr(os, "fsync", lambda _: None)
        places = Places(Path(folder))
        way = ThroughStorage(places.there, f"memory://{uuid.uuid4().hex}")
        parcel = way.parcel([0, 1], refuse)

        def interrupted(during):
            for batch in places.mirror.changes():
                yield batch
                if during:
                    operate(places, *during.pop())

        for before, during in rounds:
            for operation in before:
                operate(places, *operation)
            list(parcel.give(interrupted(list(during))))
            list(parcel.give(places.mirror.changes()))
            way.collect(parcel, [0, 1])
            assert tree(places.there) == {name: data for name, data in tree(places.here).items() if not name.endswith("/.new")}
        way.end(parcel)
        assert stored(parcel.url) == []


def test_a_file_that_changes_leaves_nothing_of_what_it_was(url, tmp_path):
    here = tmp_path / "here"
    mirror, files = Mirror(here, [0]), StoredFiles(f"{url}/1")
    for content in (b"1", b"2", b"3"):
        put(here, LAST, content)
        files.put(mirror.changes())
    assert len(stored(f"{url}/1")) == 2
    assert brought(f"{url}/1", tmp_path / "there") == tree(here)
    shutil.rmtree(here)
    files.put(mirror.changes())
    assert len(stored(f"{url}/1")) == 1
    assert brought(f"{url}/1", tmp_path / "empty") == {}


def test_of_an_event_file_only_what_is_new_is_written(url, tmp_path):
    here = tmp_path / "here"
    mirror, files = Mirror(here, [0]), StoredFiles(f"{url}/1")
    put(here, EVENTS, b"old" * 1000)
    files.put(mirror.changes())
    before = set(stored(f"{url}/1"))
    with (trial_folder(here, 0) / EVENTS).open("ab") as file:
        file.write(b"new")
    files.put(mirror.changes())
    (new,) = set(stored(f"{url}/1")) - before
    system, _ = fsspec.core.url_to_fs(url)
    assert system.cat_file(new) == b"new"
    assert brought(f"{url}/1", tmp_path / "there") == tree(here)


def test_the_checkpoint_of_a_fused_job_is_there_once_and_stays_for_the_others_when_one_trial_ends(url, tmp_path):
    here = tmp_path / "here"
    put(here, LAST, b"of all" * 1000)
    for number in range(1, 8):
        (trial_folder(here, number) / "checkpoints").mkdir(parents=True)
        os.link(trial_folder(here, 0) / LAST, trial_folder(here, number) / LAST)
    mirror, files = Mirror(here, range(8)), StoredFiles(f"{url}/1")
    files.put(mirror.changes())
    assert len(stored(f"{url}/1")) == 2
    put(here, LAST, b"of the first")
    files.put(mirror.changes())
    assert len(stored(f"{url}/1")) == 3
    assert brought(f"{url}/1", tmp_path / "there", range(8)) == tree(here)


def test_what_is_interrupted_while_it_is_put_there_is_not_seen(url, tmp_path):
    here = tmp_path / "here"
    put(here, BEST, b"1")
    put(here, LAST, b"1")
    mirror = Mirror(here, [0])
    StoredFiles(f"{url}/1").put(mirror.changes())
    before = tree(here)
    put(here, BEST, b"2")
    put(here, LAST, b"2")

    def dying():
        for batch in mirror.changes():
            yield batch[:1]
        raise OSError("the machine is gone")

    with pytest.raises(StorageError, match="the machine is gone"):
        StoredFiles(f"{url}/1").put(dying())
    assert brought(f"{url}/1", tmp_path / "there") == before


def test_a_trial_goes_to_another_machine_and_comes_back_when_it_has_ended(url, tmp_path):
    study = tmp_path / "study"
    put(study, LAST, b"epoch 1")
    put(study, "events.out.tfevents.old", b"curves")
    way = ThroughStorage(study, url)
    way.begin()
    parcel = way.parcel([0, 1], refuse)
    machine = Machine(tmp_path / "machine", [0, 1], parcel)
    assert tree(machine.root) == tree(study)
    put(machine.root, BEST, b"epoch 2")
    put(machine.root, LAST, b"epoch 2")
    put(machine.root, LAST, b"epoch 1", number=1)
    machine.pass_on()
    assert set(tree(study)) == {f"trials/000000/{LAST}", "trials/000000/events.out.tfevents.old"}
    way.collect(parcel, [0])
    machine.baggage.leave([0])
    assert tree(study) == {name: data for name, data in tree(machine.root).items() if "000000" in name}
    put(machine.root, LAST, b"epoch 2", number=1)
    machine.pass_on()
    way.collect(parcel, [1])
    assert tree(study) == tree(machine.root)
    way.end(parcel)
    assert stored(url) == []


def test_what_a_trial_that_began_anew_has_removed_is_gone_from_the_study_too(url, tmp_path):
    study = tmp_path / "study"
    put(study, "events.out.tfevents.old", b"of no use")
    way = ThroughStorage(study, url)
    parcel = way.parcel([0], refuse)
    machine = Machine(tmp_path / "machine", [0], parcel)
    shutil.rmtree(trial_folder(machine.root, 0))
    put(machine.root, EVENTS, b"new")
    machine.pass_on()
    way.collect(parcel, [0])
    assert tree(study) == {f"trials/000000/{EVENTS}": b"new"}


def test_of_a_trial_that_never_wrote_anything_the_study_keeps_what_it_has(url, tmp_path):
    study = tmp_path / "study"
    way = ThroughStorage(study, url)
    parcel = way.parcel([0], refuse)
    put(study, "trial.json", b"{}")
    way.collect(parcel, [0])
    way.end(parcel)
    assert set(tree(study)) == {"trials/000000/trial.json"}


def test_a_lost_machine_that_still_writes_changes_nothing(url, tmp_path):
    study = tmp_path / "study"
    way = ThroughStorage(study, url)
    first = way.parcel([0], refuse)
    lost = Machine(tmp_path / "lost", [0], first)
    put(lost.root, LAST, b"epoch 1")
    lost.pass_on()
    way.collect(first, [0])
    way.end(first)
    second = way.parcel([0], refuse)
    machine = Machine(tmp_path / "machine", [0], second)
    assert tree(machine.root) == {f"trials/000000/{LAST}": b"epoch 1"}
    put(machine.root, LAST, b"epoch 2")
    machine.pass_on()
    put(lost.root, LAST, b"of a ghost")
    lost.pass_on()
    way.collect(second, [0])
    assert tree(study) == {f"trials/000000/{LAST}": b"epoch 2"}


def test_after_a_killed_search_the_next_one_takes_up_what_its_machines_have_put_there(url, tmp_path):
    study = tmp_path / "study"
    put(study, LAST, b"epoch 1")
    parcel = ThroughStorage(study, url).parcel([0, 1], refuse)
    machine = Machine(tmp_path / "machine", [0, 1], parcel)
    put(machine.root, LAST, b"epoch 2")
    put(machine.root, LAST, b"epoch 2", number=1)
    machine.pass_on()
    # The second has ended, and its checkpoints were not to be kept.
    put(study, "trial.json", b"{}", number=1)
    shutil.copytree(study, tmp_path / "copy")
    ThroughStorage(tmp_path / "copy", url).begin()
    assert len(stored(url)) > 0
    ThroughStorage(study, url).begin()
    assert tree(study) == {f"trials/000000/{LAST}": b"epoch 2", "trials/000001/trial.json": b"{}"}
    assert stored(url) == []


def test_pieces_that_come_from_there_are_bounded(url, tmp_path, monkeypatch):
    here = tmp_path / "here"
    put(here, LAST, os.urandom(3 * mirror_module.PIECE + 5))
    StoredFiles(f"{url}/1").put(Mirror(here, [0]).changes())
    sizes = [len(piece.data) for batch in StoredFiles(f"{url}/1").changes([0]) for piece in batch]
    assert max(sizes) == mirror_module.PIECE
    assert brought(f"{url}/1", tmp_path / "there") == tree(here)


def test_a_part_that_somebody_has_removed_is_told(url, tmp_path):
    here = tmp_path / "here"
    put(here, LAST, b"1")
    StoredFiles(f"{url}/1").put(Mirror(here, [0]).changes())
    system, _ = fsspec.core.url_to_fs(url)
    (part,) = (path for path in stored(f"{url}/1") if not path.endswith(".json"))
    system.rm_file(part)
    with pytest.raises(StorageError, match="see that it can be reached"):
        brought(f"{url}/1", tmp_path / "there")


def test_a_storage_that_cannot_be_written_is_told_before_anything_begins(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match="cannot be written"):
        ThroughStorage(tmp_path / "study", (tmp_path / "file").as_uri()).begin()


@pytest.mark.parametrize(
    ("storage", "told"),
    [
        ("/mnt/all", "needs a URL such as 's3://bucket/path'"),
        (7, "needs a URL"),
        ("", "needs a URL"),
        ("s4://bucket", "fsspec knows no s4://"),
        ("memory://here", "memory of one process"),
    ],
)
def test_a_wrong_storage_is_refused(storage, told):
    with pytest.raises(ConfigError, match=told):
        RayCluster(storage=storage)


@pytest.mark.parametrize(("url", "package"), [("s3://bucket/path", "s3fs"), ("gs://bucket", "gcsfs"), ("abfs://x", "adlfs")])
def test_a_missing_package_is_named(monkeypatch, url, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f"pip install {package}"):
        RayCluster(storage=url)


def test_a_storage_for_machines_that_all_see_the_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="shared is True"):
        RayCluster(storage=tmp_path.as_uri(), shared=True)
    assert RayCluster(storage=tmp_path.as_uri()).storage == tmp_path.as_uri()


def test_the_list_names_files_by_their_paths_below_the_study(url, tmp_path):
    files = StoredFiles(f"{url}/1")
    files.put([[Piece("trials/000000/a", 0, b"1", grows=False, last=True), Same("trials/000000/b", "trials/000000/a")]])
    files.put([[Gone("trials/000000/a")]])
    system, path = fsspec.core.url_to_fs(f"{url}/1")
    assert list(json.loads(system.cat_file(f"{path}/files.json"))) == ["trials/000000/b"]
    assert brought(f"{url}/1", tmp_path / "there") == {"trials/000000/b": b"1"}


def test_folders_are_told_in_order(url):
    for name in ("2", "10", "1"):
        StoredFiles(f"{url}/{name}").put([[Piece("trials/000000/a", 0, b"1", grows=False, last=True)]])
    assert [each.rpartition("/")[2] for each in Storage(url).folders()] == ["1", "10", "2"]
