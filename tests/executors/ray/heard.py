"""An executor that tells others, too, what it hears."""

from __future__ import annotations

from dataclasses import dataclass

from lightning_hp.executors.ray.executor import OnRay


@dataclass
class Heard:
    """An executor whose events are listened to."""

    executor: OnRay
    listen: object

    @property
    def at_a_time(self):
        return self.executor.at_a_time

    def run(self, next_job, work, emit):
        def take(event):
            emit(event)
            self.listen(event)

        self.executor.run(next_job, work, take)
