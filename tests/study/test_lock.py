"""Who holds a study, for onlookers."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from lightning_hp.errors import StorageError
from lightning_hp.study.lock import HOLDER, Lock, holder


def test_the_holder_is_known_while_it_holds_and_no_longer(tmp_path):
    assert holder(tmp_path) is None
    lock = Lock(tmp_path)
    found = holder(tmp_path)
    assert (found.pid, found.host, found.lives) == (os.getpid(), socket.gethostname(), True)
    with pytest.raises(StorageError, match=f"process {os.getpid()}"):
        Lock(tmp_path)
    lock.release()
    assert holder(tmp_path) is None


def test_a_holder_that_was_killed_is_seen_to_be_dead(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    (tmp_path / HOLDER).write_text(json.dumps({"pid": process.pid, "host": socket.gethostname()}))
    assert not holder(tmp_path).lives
    (tmp_path / HOLDER).write_text(json.dumps({"pid": process.pid, "host": "elsewhere"}))
    assert holder(tmp_path).lives


def test_a_note_that_is_not_to_be_read_names_nobody(tmp_path):
    (tmp_path / HOLDER).write_text("[]")
    assert holder(tmp_path) is None
