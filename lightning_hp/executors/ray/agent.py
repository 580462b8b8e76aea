"""What runs on a machine of the cluster: an actor that has jobs run, one at a time, in processes of their own."""

from __future__ import annotations

import os
import pickle
import platform
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import lightning_hp
from lightning_hp.errors import LightningHPError
from lightning_hp.executors import Work
from lightning_hp.executors.limits import Limits
from lightning_hp.executors.messages import Raised
from lightning_hp.executors.place import Place
from lightning_hp.executors.processes import Processes
from lightning_hp.executors.ray.baggage import Baggage, ended_by
from lightning_hp.executors.ray.mirror import Change, Copy
from lightning_hp.executors.ray.ways import Parcel
from lightning_hp.executors.ray.wheels import Answered, Asked, Desk, Listens
from lightning_hp.executors.scratch import scratch_folder
from lightning_hp.trial import Event, Finished, Job, Paused

# Messages that wait for the search to take them; then the training waits, too.
MOST_WAITING = 1000
# Seconds to wait for one.
LOOK_INTERVAL = 1.0

Message: TypeAlias = Event | Change | Listens | Answered | Raised


@dataclass(frozen=True)
class Settings:
    """How an agent runs jobs.

    Attributes:
        root: the study's folder on the machine of the search.
        token: the content of the file `TOKEN` in there.
        shared: whether that folder is said to be seen here; None to look.
        processes: of a job.
        threads: that torch may use in each.
        uses_gpus: whether the job sees the GPUs that Ray has given to the agent; otherwise it sees none.
        limits: of all jobs.
        verbose: let Lightning say what it has to say.
    """

    root: str
    token: str
    shared: bool | None
    processes: int
    threads: int
    uses_gpus: bool
    limits: Limits
    verbose: bool


# In the study's folder; by its content a machine knows whether it sees that folder.
TOKEN = ".ray"


class Agent:
    """Has jobs run in this machine's processes, which are forked from one that has all loaded.

    Args:
        payload: the pickled work, see `Work`.
        settings: how it runs jobs.
    """

    def __init__(self, payload: bytes, settings: Settings) -> None:
        self._payload = payload
        self._settings = settings
        self.shared = _is_shared(settings)
        # None after the last one.
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        # None after the last message of a job.
        self._messages: queue.Queue[Message | None] = queue.Queue(MOST_WAITING)
        self._root = Path(settings.root)
        self._idle = False
        self._desk: Desk | None = None
        # Why nothing can run here.
        self._error: LightningHPError | None = None
        if not settings.uses_gpus:
            # Ray leaves all of a machine's in sight of who has asked for none.
            os.environ["CUDA_VISIBLE_DEVICES"] = ""
        ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(ready.set,), daemon=True)
        self._thread.start()
        ready.wait()

    def where(self) -> tuple[str, str, bool, str]:
        """The machine's name and Ray's id of it, whether it sees the study's folder, and its version of this, once it is ready.

        Raises:
            LightningHPError: nothing can run here.
        """
        if self._error is not None:
            raise LightningHPError(f"{platform.node()} can run no job: {self._error}")
        import ray

        return platform.node(), ray.get_runtime_context().get_node_id(), self.shared, lightning_hp.__version__

    def take(self, changes: Sequence[Change]) -> None:
        """Takes a part of what is in the folders of the trials that run next, where the study's folder is not seen here."""
        copy = Copy(self._root)
        for change in changes:
            copy.apply(change)

    def run(self, job: Job, parcel: Parcel | None) -> Iterator[list[Message]]:
        """Runs one job.

        Args:
            job: what is to be run.
            parcel: where the study's folder is not seen here, how what is in the trials' folders comes and goes.

        Yields:
            First nothing, which tells that the job begins; then what it tells, and before a trial is over, all that has changed
            in its folder.
        """
        baggage = None if parcel is None else Baggage(self._root, [trial.number for trial in job.trials], parcel)
        self._desk = None if baggage is None else baggage.desk
        self._jobs.put(job)
        yield []
        over = False
        while not over:
            messages = self._waiting()
            over = messages[-1:] == [None]
            ended = ended_by(messages)
            if baggage is not None:
                yield from baggage.news(over or bool(ended))
            if told := [self._as_there(each) for each in messages if each is not None]:
                yield told
            if baggage is not None:
                baggage.leave(ended)
        if baggage is not None:
            baggage.remove()

    def ask(self, asked: Asked) -> None:
        """Puts a person's request before a fit that runs here."""
        if self._desk is not None:
            self._desk.put(asked)

    def end(self) -> None:
        """Leaves nothing on this machine, when no more jobs will come."""
        self._jobs.put(None)
        self._thread.join()

    def _serve(self, ready: Callable[[], None]) -> None:
        """Runs what comes, as long as this process lives."""
        asked = self._settings
        devices = tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","))) if asked.uses_gpus else ()
        place = Place(devices, asked.threads, asked.processes)
        processes = Processes([place], asked.limits.trial_timeout, asked.limits.memory, verbose=asked.verbose)
        try:
            _check_is_there(asked)
            with scratch_folder() as folder:
                if not self.shared:
                    self._root = folder
                self._ready = ready
                processes.run(self._next_job, _Sent(self._payload, self._root), self._messages.put)
        except LightningHPError as error:
            self._error = error
        except Exception as error:
            self._error = LightningHPError(f"{platform.node()}: {type(error).__name__}: {error}")
        finally:
            if self._error is not None:
                self._messages.put(Raised(self._error))
            ready()
            self._messages.put(None)

    def _next_job(self) -> Job | None:
        if self._idle:
            self._messages.put(None)
        self._idle = True
        self._ready()
        return self._jobs.get()

    def _waiting(self) -> list[Message | None]:
        """The messages that are there, or come within the time of one look, up to the end of the job."""
        messages: list[Message | None] = []
        try:
            messages.append(self._messages.get(timeout=LOOK_INTERVAL))
            while messages[-1] is not None and len(messages) < MOST_WAITING:
                messages.append(self._messages.get_nowait())
        except queue.Empty:
            pass
        return messages

    def _as_there(self, message: Message) -> Message:
        """A message that names files as they are called where the search is."""
        if not isinstance(message, (Finished, Paused)) or message.outcome.checkpoint is None or self.shared:
            return message
        checkpoint = Path(self._settings.root, message.outcome.checkpoint.relative_to(self._root))
        return replace(message, outcome=replace(message.outcome, checkpoint=checkpoint))


@dataclass(frozen=True)
class _Sent:
    """Work as it has come: loaded only where it is done, since that imports all that the user's code needs."""

    payload: bytes
    root: Path

    def under(self, root: Path) -> Work:
        return replace(self, root=root)

    def __call__(self, job: Job, emit: Callable[[Event], None]) -> None:
        _loaded(self.payload, self.root)(job, emit)

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded, (self.payload, self.root)


def _loaded(payload: bytes, root: Path) -> Work:
    work: Work = pickle.loads(payload)
    return work.under(root)


def _check_is_there(settings: Settings) -> None:
    if settings.shared and not Path(settings.root).is_dir():
        raise LightningHPError(
            f"{settings.root} is not there, and RayCluster(shared=True) says that all machines see it: mount it, or leave "
            "shared out"
        )


def _is_shared(settings: Settings) -> bool:
    if settings.shared is not None:
        return settings.shared
    try:
        return Path(settings.root, TOKEN).read_text() == settings.token
    except OSError:
        return False
