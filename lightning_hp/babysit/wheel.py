"""A person at the wheel of a babysat fit: what is requested is carried out by the same hands, and written into the same log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_hp.babysit import hands, log
from lightning_hp.babysit.actions import Action
from lightning_hp.babysit.inbox import Requests
from lightning_hp.babysit.logbook import Logbook, made
from lightning_hp.babysit.policies.reduce import GOOD, START
from lightning_hp.babysit.request import Bounds, Request, actions
from lightning_hp.errors import ConfigError


class Wheel:
    """Heeds the requests to one fit. They do not count among the policy's interventions.

    Args:
        trainer: the fit's, in ``on_train_start``.
        folder: of the fit.
        own: the hands that carry requests out.
        logbook: where they are written.
        bounds: that hold for people too.
        by: the babysitter's name in the log.
        again: records of an interrupted fit that this one will make again, requests among them.
    """

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        own: hands.Hands,
        logbook: Logbook,
        bounds: Bounds,
        by: str,
        again: Sequence[log.Record],
    ) -> None:
        self._hands = own
        self._logbook = logbook
        self._bounds = bounds
        self._by = by
        self._requests = Requests(trainer, folder, _requests_of(again))
        if self._requests.problem is not None:
            rank_zero_warn(f"Babysitter takes no requests in this fit: {self._requests.problem}")

    @property
    def repeats(self) -> bool:
        """Whether some are to be carried out again, at their batches."""
        return self._requests.repeats

    @property
    def quiet_until(self) -> float:
        """When to call `before_batch` again, by ``time.monotonic()``, but for an epoch's first batch."""
        return self._requests.quiet_until

    def before_batch(self, trainer: Trainer, batch_idx: int) -> list[Action]:
        """What was asked for and done, before a training batch."""
        due = self._requests.due(trainer, made(trainer), batch_idx)
        return [action for request in due for action in self._heed(trainer, request)]

    def close(self, trainer: Trainer) -> None:
        """Ends, however the fit has ended; twice does no harm."""
        self._requests.close(trainer)

    def _heed(self, trainer: Trainer, request: Request) -> list[Action]:
        before = hands.read(trainer)
        snapshot = next((name for name in (GOOD, START) if name in self._hands.snapshots), None)
        try:
            asked = actions(request, before, hands.peaks(trainer), self._bounds, snapshot)
        except ConfigError as error:
            self._requests.refuse(trainer, request, str(error))
            return []
        done = [action for action in asked if self._hands.carry_out(trainer, action)]
        detail = {"by": self._by, "request": request.to_plain()}
        record = self._logbook.done(trainer, "request", request.sentence(), done, before, hands.read(trainer), **detail)
        self._requests.done(trainer, request, record.sentence())
        return done


def _requests_of(records: Sequence[log.Record]) -> list[tuple[int, Request]]:
    """What persons have asked for, of these records."""
    try:
        return [(each.batch, Request.from_plain(each.detail["request"])) for each in records if each.event == "request"]
    except (KeyError, ConfigError):
        return []
