"""What goes to a worker by value knows where it was written."""

from __future__ import annotations

import pickle
import sys
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


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated where they stand")
def test_a_function_whose_annotations_only_type_checkers_can_evaluate_arrives():
    script = "def twice(lr: Rate) -> int: return 2 * same(lr)\ndef same(lr: Rate): return lr"
    defined = {"__name__": "__main__"}
    exec(compile(script, "script.py", "exec", dont_inherit=True), defined)
    assert pickle.loads(dumps(defined["twice"]))(1) == 2
    # Here it still has them.
    defined["Rate"] = float
    assert defined["twice"].__annotations__ == {"lr": float, "return": int}
    assert pickle.loads(dumps(defined["twice"])).__annotations__ == {"lr": float, "return": int}
