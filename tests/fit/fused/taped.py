"""All tests of fused fits with their steps recorded and replayed, as on a GPU: what a recording takes for granted shows here.

    python -m pytest -p tests.fit.fused.taped tests/fit/fused

Those marked ``run_each_time`` are left out: they count runs of the step, or go by its bits, where a replay sums otherwise.
"""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if item.get_closest_marker("run_each_time")]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(autouse=True)
def taped(monkeypatch: pytest.MonkeyPatch) -> None:
    # Imported once torch is: a plugin comes before all else.
    from tests.fit.fused.tape import record_on_tape

    record_on_tape(monkeypatch)
