"""Kills a search at random moments and starts it again, until it has ended so often that N kills have been made.

    python tests/chaos/kill.py N [--seed 0] [--keep FOLDER]

Each time the search itself, one of its processes or all of them get SIGKILL. In the end every study is compared with that of
a search that nobody disturbed. Printed, and told by the exit code: trials lost, duplicated and differing, processes that were
alive five seconds after their search, and files left behind.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from lightning_hp import Study

REPOSITORY = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("search.py")
PATIENCE = 5.0
NAMES = ("lost", "duplicated", "differing", "left behind")
TARGETS = ("search", "one process", "all")


def start(root: Path, temporary: Path, trials: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TMPDIR": str(temporary)}
    with (root.parent / f"{root.name}.log").open("ab") as log:
        return subprocess.Popen([sys.executable, str(SCRIPT), str(root), str(trials)], env=environment, stdout=log, stderr=log)


def descendants(pid: int) -> list[int]:
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return children + [each for child in children for each in descendants(child)]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def strike(process: subprocess.Popen[bytes], chance: random.Random, done: Counter[str]) -> None:
    """SIGKILL to the search, to one process of it, or to all."""
    family = descendants(process.pid)
    target = chance.choice(TARGETS)
    victims = {
        "search": [process.pid],
        "one process": [chance.choice(family)] if family else [],
        "all": [*family, process.pid],
    }[target]
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
            done[target] += pid == victims[-1]
        except ProcessLookupError:
            pass


def struck(done: Counter[str]) -> int:
    return sum(done[target] for target in TARGETS)


def orphans(family: list[int]) -> int:
    deadline = time.monotonic() + PATIENCE
    while any(map(alive, family)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return sum(map(alive, family))


def disturbed(
    root: Path, temporary: Path, kills: int, chance: random.Random, longest: float, done: Counter[str], trials: int
) -> None:
    """Runs one search to its end, with kills as long as there are any left."""
    while True:
        process = start(root, temporary, trials)
        while process.poll() is None:
            try:
                process.wait(chance.uniform(0.0, longest) if struck(done) < kills else None)
            except subprocess.TimeoutExpired:
                family = descendants(process.pid)
                strike(process, chance, done)
                time.sleep(0.01)
                if process.poll() is not None or not alive(process.pid):
                    process.wait()
                    done["orphans"] += orphans(family)
        if process.returncode == 0:
            return
        if process.returncode != -signal.SIGKILL:
            done["errors"] += 1
            print(f"the search ended with {process.returncode}:\n{(root.parent / f'{root.name}.log').read_text()[-2000:]}")
            return


def table(root: Path) -> dict[int, tuple[object, ...]]:
    return {t.number: (t.hparams, t.seed, t.state, t.value, t.epochs, t.metrics, t.reason) for t in Study(root).trials}


def leftovers(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.endswith((".new", "-journal"))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, default=None, help="folder for the studies; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        return run(options.kills, random.Random(options.seed), options.keep or Path(scratch))


def run(kills: int, chance: random.Random, folder: Path, trials: int = 20) -> int:
    temporary = folder / "temporary"
    temporary.mkdir(parents=True)
    began = time.monotonic()
    calm = start(folder / "calm", temporary, trials)
    assert calm.wait() == 0, (folder / "calm.log").read_text()
    longest = time.monotonic() - began
    expected = table(folder / "calm")
    done: Counter[str] = Counter()
    found: Counter[str] = Counter()
    studies = 0
    while struck(done) < kills and not done["errors"]:
        root = folder / f"study{studies}"
        disturbed(root, temporary, kills, chance, longest, done, trials)
        studies += 1
        rows = table(root)
        found["lost"] += len(expected.keys() - rows.keys())
        found["differing"] += sum(rows[number] != expected[number] for number in rows.keys() & expected.keys())
        with closing(sqlite3.connect(root / "study.db")) as connection:
            found["duplicated"] += connection.execute("SELECT count(*) - count(DISTINCT number) FROM trials").fetchone()[0]
        found["duplicated"] += len(rows.keys() - expected.keys())
        found["left behind"] += len(leftovers(root))
        told = ", ".join(f"{name} {found[name]}" for name in NAMES)
        # A run takes long: what it has seen so far is not lost with it.
        print(f"{struck(done)} kills in {studies} searches: {told}, orphans {done['orphans']}", flush=True)
    found["left behind"] += len([path for path in temporary.iterdir() if not path.name.startswith("torchinductor")])
    listed = ", ".join(f"{target} {done[target]}" for target in TARGETS)
    print(f"{struck(done)} kills ({listed}) in {studies} searches of {trials} trials")
    print(", ".join(f"{name} {found[name]}" for name in NAMES) + f", orphans {done['orphans']}, errors {done['errors']}")
    return int(any(found[name] for name in NAMES) or done["orphans"] > 0 or done["errors"] > 0)


if __name__ == "__main__":
    sys.exit(main())
