"""A person at the wheel of one fit: requests are carried out as the policy's decisions are, logged and answered."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_warn

from lightning_hp.babysit import hands, log
from lightning_hp.babysit.actions import Action
from lightning_hp.babysit.hands import Hands
from lightning_hp.babysit.logbook import Logbook, made
from lightning_hp.babysit.nudge import Requests
from lightning_hp.babysit.request import Bounds, Request, actions
from lightning_hp.errors import ConfigError

# The snapshot that a rollback goes to, as the policies call it.
GOOD = "good"


class Wheel:
    """Takes what a person asks of one fit, and has it done.

    Whoever has it calls `begin` in ``on_train_start``, before the logbook's, `before_batch` last thing in
    ``on_train_batch_start``, and `end` however the fit ends.

    Args:
        own_hands: carry the requests out.
        logbook: where they are written down.
        bounds: what a nudge is held to.
    """

    def __init__(self, own_hands: Hands, logbook: Logbook, bounds: Bounds) -> None:
        self._hands = own_hands
        self._logbook = logbook
        self._bounds = bounds
        self._requests: Requests | None = None

    def begin(self, trainer: Trainer, folder: Path) -> None:
        """Begins to listen in a folder.

        Args:
            trainer: the fit's.
            folder: of the fit.
        """
        again = self._made_before(trainer) if trainer.is_global_zero else []
        self._requests = Requests(trainer, folder, again)
        if self._requests.problem is not None:
            rank_zero_warn(f"Babysitter takes no requests in this fit: {self._requests.problem}")

    def before_batch(self, trainer: Trainer, batch_idx: int) -> Iterator[list[Action]]:
        """Does what is asked for, request by request; gives what was done of each. While the fit is paused this goes on."""
        if self._requests is None:
            return
        for request in self._requests.due(trainer, made(trainer), batch_idx):
            before = hands.read(trainer)
            snapshot = GOOD if GOOD in self._hands.snapshots else None
            try:
                asked = actions(request, before, hands.peaks(trainer), self._bounds, snapshot)
            except ConfigError as error:
                self._requests.refuse(trainer, request, str(error))
                continue
            done = [action for action in asked if self._hands.carry_out(trainer, action)]
            after, plain = hands.read(trainer), request.to_plain()
            record = self._logbook.done(trainer, "request", request.sentence(), done, before, after, request=plain)
            self._requests.done(trainer, request, record.sentence())
            yield done

    def end(self, trainer: Trainer) -> None:
        """Listens no more. Twice does no harm."""
        if self._requests is not None:
            self._requests.close(trainer)
            self._requests = None

    def _made_before(self, trainer: Trainer) -> list[tuple[int, Request]]:
        """What was carried out after the place where this fit goes on: as the policy's, these moves are made again."""
        if self._logbook.file is None:
            return []
        first = self._logbook.first(trainer)
        try:
            records = [each for each in log.read(self._logbook.file) if each.event == "request" and each.batch >= first]
            return [(each.batch, Request.from_plain(each.detail["request"])) for each in records]
        except (OSError, KeyError, ConfigError):
            return []
