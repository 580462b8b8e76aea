"""The babysitter: it watches one fit and changes learning rate and momentum when training stalls.

`watch` finds each new value of the metric, `signals` says when something is wrong, `policy` what to do about it, `knobs` does
it to optimizers and schedulers, `log` writes it down, and the callback carries the five through a Lightning fit. A person does
the same by requests: `nudge` puts them into a fit's `mailbox`, `inbox` takes them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_hp.babysit.callback import Babysitter

__all__ = ["Babysitter"]


def __getattr__(name: str) -> Any:
    # It imports torch and Lightning, which takes seconds: a person's request has no use for them.
    if name != "Babysitter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lightning_hp.babysit.callback import Babysitter

    return Babysitter
