"""The babysitter: it watches one fit and changes learning rate and momentum when training stalls.

`watch` finds each new value of the metric, `signals` says when something is wrong, `policy` what to do about it, `knobs` does
it to optimizers and schedulers, `log` writes it down, and the callback carries the five through a Lightning fit.
"""

from lightning_hp.babysit.callback import Babysitter

__all__ = ["Babysitter"]
