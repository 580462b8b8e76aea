"""Jobs at the same time, each in a process of its own, which leaves no memory behind and can hurt nobody."""

from __future__ import annotations

import contextlib
import math
import pickle
import queue
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from lightning_hp.errors import ConfigError
from lightning_hp.executors import NextJob, Work, by_value
from lightning_hp.executors.channel import receive, send
from lightning_hp.executors.forkserver import ForkServer
from lightning_hp.executors.launch import CAN_FORK, Launcher, Process, Spawner
from lightning_hp.executors.messages import Broken, Lost, Order, Raised, RankFailed, Warned
from lightning_hp.executors.names import with_names
from lightning_hp.executors.place import Place
from lightning_hp.executors.scratch import scratch_folder
from lightning_hp.trial import (
    LONGEST_REASON,
    Emit,
    EpochEnded,
    Event,
    Finished,
    Grouped,
    Job,
    Outcome,
    Paused,
    Printed,
    Unfused,
    left_by,
)

# Seconds without a look at the clock; a queue takes no infinity.
LONGEST_WAIT = 3600.0
# Seconds that a process may take to end when its work is over: a logger may have much to send.
GRACE = 30.0
# Seconds to wait for the last words of a process that has ended: what it has left running may hold their pipe.
LAST_WORDS = 1.0
# Bytes of a line that a worker prints; what is longer becomes several.
LONGEST_LINE = 4096
# Messages of workers that wait for the search to take them. Then the workers wait: nothing is lost, no memory is filled.
MOST_WAITING = 1000
# Seconds from one look at whether anybody still listens to the next.
_LISTEN_INTERVAL = 1.0
# Lines that a worker printed last, to tell why it died.
_LINES_KEPT = 20
# How a process ends by what others do: with what had started it, by SIGTERM, or by SIGKILL, for which Windows has no name.
_FROM_OUTSIDE = (None, -15, -9)


@dataclass(frozen=True)
class Processes:
    """Runs as many jobs at a time as there are places. A free place takes the next job; nobody waits for anybody.

    Args:
        places: one per job that may run at the same time.
        trial_timeout: seconds that a trial may take, to its end or to the rung of its job; None for no limit.
        memory_limit: bytes that a process may use; None for no limit.
        fork: fork workers from a server; otherwise start each anew, which works everywhere and takes seconds.
        verbose: let Lightning say what it has to say.
    """

    places: Sequence[Place]
    trial_timeout: float | None = None
    memory_limit: int | None = None
    fork: bool = CAN_FORK
    verbose: bool = False

    @property
    def at_a_time(self) -> int:
        return len(self.places)

    def run(self, next_job: NextJob, work: Work, emit: Emit) -> None:
        try:
            payload = with_names(by_value.dumps(work))
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise ConfigError(
                f"the model, the data or the Trainer's arguments cannot be sent to a worker process: {error}. "
                "executor='inline' trains in this process"
            ) from error
        with scratch_folder() as scratch:
            launcher: Launcher = ForkServer(payload, scratch) if self.fork else Spawner(payload, scratch)
            with contextlib.closing(_Run(self, launcher, emit)) as run, launcher:
                run.run(next_job)


@dataclass
class _Team:
    """The process of a job, or its processes, one per rank, and what is known of them."""

    job: Job
    place: Place
    processes: list[Process]
    # When it is ended, by the monotonic clock, if it has not ended by then.
    due: float = math.inf
    unfinished: set[int] = field(default_factory=set)
    running: int = 0
    # Why it ended without having finished, and whether another try may do.
    fate: Outcome | None = None
    said: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_KEPT))

    def condemn(self, outcome: Outcome) -> None:
        """Says how the trials end that are unfinished when the processes are gone. The first to say so is right."""
        self.fate = self.fate or outcome
        self.allow(GRACE)

    def allow(self, seconds: float) -> None:
        self.due = time.monotonic() + seconds

    def kill(self) -> None:
        for process in self.processes:
            process.kill()


@dataclass(frozen=True)
class _Ended:
    rank: int
    code: int | None


@dataclass(frozen=True)
class _Said:
    line: str


_Message = Event | Broken | Lost | Raised | RankFailed | Warned | _Ended | _Said


class _Run:
    """One run of the executor: the teams at work, and the queue of what they tell."""

    def __init__(self, settings: Processes, launcher: Launcher, emit: Emit) -> None:
        self._settings = settings
        self._launcher = launcher
        self._emit = emit
        self._free = list(reversed(settings.places))
        self._teams: list[_Team] = []
        self._messages: queue.Queue[tuple[_Team, _Message]] = queue.Queue(MOST_WAITING)
        self._closed = False

    def run(self, next_job: NextJob) -> None:
        while True:
            while self._free and (job := next_job()) is not None:
                self._start(job, self._free.pop())
            if not self._teams:
                return
            with contextlib.suppress(queue.Empty):
                self._take(*self._messages.get(timeout=self._patience()))
            self._end_the_late()

    def close(self) -> None:
        """Nobody listens any more: who waits to tell something goes on."""
        self._closed = True

    def _start(self, job: Job, place: Place) -> None:
        team = _Team(job, place, [self._launcher.start() for _ in range(place.processes)])
        team.unfinished = {trial.number for trial in job.trials}
        team.running = len(team.processes)
        if self._settings.trial_timeout is not None:
            team.allow(self._settings.trial_timeout * len(job.trials))
        self._teams.append(team)
        port = _free_port() if place.processes > 1 else 0
        for rank, process in enumerate(team.processes):
            environment = _environment(place, rank, port)
            order = Order(job, environment, place.threads, rank, self._settings.memory_limit, self._settings.verbose)
            # A process that is dead already is found so by its reader.
            with contextlib.suppress(OSError):
                send(process.writer, order)
            telling = threading.Lock()
            listener = threading.Thread(target=self._hear, args=(team, process, telling), daemon=True)
            listener.start()
            threading.Thread(target=self._read, args=(team, rank, process, listener, telling), daemon=True).start()

    def _read(self, team: _Team, rank: int, process: Process, listener: threading.Thread, telling: threading.Lock) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._tell(team, receive(process.reader))
        code = process.wait()
        process.close()
        listener.join(LAST_WORDS)
        # It may have words for which the search has no time yet.
        while listener.is_alive() and telling.locked():
            listener.join(LAST_WORDS)
        self._tell(team, _Ended(rank, code))

    def _hear(self, team: _Team, process: Process, telling: threading.Lock) -> None:
        with process.output:
            # A line may have no end, as a progress bar's.
            while line := process.output.readline(LONGEST_LINE):
                told = line.decode(errors="replace").rstrip().rpartition("\r")[2]
                # What bars leave behind, and space between paragraphs, say nothing among the lines of others.
                if not told:
                    continue
                with telling:
                    self._tell(team, _Said(told))

    def _tell(self, team: _Team, message: _Message) -> None:
        while not self._closed:
            with contextlib.suppress(queue.Full):
                self._messages.put((team, message), timeout=_LISTEN_INTERVAL)
                return

    def _take(self, team: _Team, message: _Message) -> None:
        if isinstance(message, _Ended):
            self._end(team, message)
        elif isinstance(message, Raised):
            raise message.error
        elif isinstance(message, Broken):
            team.condemn(Outcome("failed", reason=message.reason, traceback=message.traceback, blameless=True))
        elif isinstance(message, Lost):
            team.condemn(Outcome("failed", reason=message.reason, retriable=True))
        elif isinstance(message, RankFailed):
            team.condemn(message.outcome)
            team.kill()
        elif isinstance(message, _Said):
            team.said.append(message.line)
            self._print(team, message.line)
        elif isinstance(message, Warned):
            self._print(team, message.text, once=True)
        elif team.fate is None:
            team.unfinished.difference_update(left_by(message))
            if not team.unfinished:
                team.allow(GRACE)
            elif isinstance(message, Grouped) and self._settings.trial_timeout is not None:
                team.allow(self._settings.trial_timeout * len(team.unfinished))
            if isinstance(message, (EpochEnded, Finished, Paused, Grouped, Unfused)):
                self._emit(message)

    def _print(self, team: _Team, line: str, once: bool = False) -> None:
        self._emit(Printed(tuple(trial.number for trial in team.job.trials), line, once))

    def _end(self, team: _Team, ended: _Ended) -> None:
        team.running -= 1
        if ended.rank == 0 or ended.code != 0:
            # The other ranks would wait for this one for ever.
            last = "".join(f"; {line}" for line in list(team.said)[-1:])
            reason, killed = f"{_death(ended.code)}{last}"[:LONGEST_REASON], ended.code in _FROM_OUTSIDE
            team.condemn(Outcome("failed", reason=reason, retriable=True, blameless=killed))
            team.kill()
        if team.running == 0:
            self._teams.remove(team)
            self._free.append(team.place)
            for number in sorted(team.unfinished):
                assert team.fate is not None
                self._emit(Finished(number, team.fate, time.time()))

    def _patience(self) -> float:
        due = min(team.due for team in self._teams)
        return max(0.0, min(LONGEST_WAIT, due - time.monotonic()))

    def _end_the_late(self) -> None:
        for team in self._teams:
            if time.monotonic() < team.due:
                continue
            if team.unfinished and team.fate is None:
                reason = f"no end after {self._settings.trial_timeout:g} seconds (trial_timeout)"
                team.condemn(Outcome("failed", reason=reason))
            else:
                self._print(team, f"the worker had done its work and did not end for {GRACE:g} seconds: killed")
            team.kill()
            team.due = math.inf


def _environment(place: Place, rank: int, port: int) -> dict[str, str]:
    environment = {"CUDA_VISIBLE_DEVICES": ",".join(place.devices)} if place.devices else {}
    if place.processes > 1:
        # What torchrun would set: Lightning then starts no processes of its own.
        environment |= {"LOCAL_RANK": str(rank), "NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return environment


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _death(code: int | None) -> str:
    if code is None:
        return "the worker process is gone"
    if code < 0:
        known = -code in set(signal.Signals)
        name = signal.Signals(-code).name if known else f"signal {-code}"
        hint = ", perhaps by the system, which was out of memory" if name == "SIGKILL" else ""
        return f"the worker process was ended by {name}{hint}"
    return f"the worker process ended by itself with exit code {code}"
