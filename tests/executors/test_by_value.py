"""What goes to a worker by value knows where it was written."""

from __future__ import annotations

import pickle
import traceback

import pytest

from lightning_hp.executors.by_value import dumps

SCRIPT = """
class Model:
    def step(self, batch):
        return [self.part(each) for each in batch]

    part = staticmethod(lambda each: 1 / each)
"""


@pytest.fixture
def script(tmp_path):
    """A class as a user's script has it, with the script's file."""
    file = tmp_path / "script.py"
    file.write_text(SCRIPT)
    defined = {"__name__": "__main__"}
    exec(compile(SCRIPT, str(file), "exec"), defined)
    return defined["Model"], file


def test_a_traceback_shows_the_lines_of_the_users_script(script):
    model, file = script
    step, part = pickle.loads(dumps((model.step, model.part)))
    assert step.__code__ is not model.step.__code__
    with pytest.raises(ZeroDivisionError) as raised:
        step(type("One", (), {"part": staticmethod(part)})(), [1, 0])
    frames = traceback.extract_tb(raised.tb)[1:]
    assert {frame.filename for frame in frames} == {str(file)}
    assert (frames[0].lineno, frames[-1].lineno) == (4, 6)
    assert frames[-1].line == "part = staticmethod(lambda each: 1 / each)"
