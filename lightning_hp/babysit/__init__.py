"""The babysitter: it watches one fit and changes learning rate and momentum when training stalls.

`signals` says when something is wrong, `policy` what to do about it, `knobs` does it to optimizers and schedulers, and the
callback carries the three through a Lightning fit and writes down each intervention.
"""

from lightning_hp.babysit.callback import Babysitter

__all__ = ["Babysitter"]
