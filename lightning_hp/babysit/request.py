"""What a person asks of a running fit, in plain data, and what comes of it: actions, or a refusal that says why."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

from lightning_hp.babysit.actions import Action, Adjust, Knobs, Move, Rollback, Stop
from lightning_hp.bounds import is_number
from lightning_hp.errors import ConfigError, did_you_mean, one_of

Kind: TypeAlias = Literal["nudge", "rollback", "pause", "resume", "stop"]
At: TypeAlias = Literal["step", "epoch"]

KINDS: tuple[Kind, ...] = get_args(Kind)
KNOBS = ("lr", "momentum")
# What a bound that float32 has rounded may be passed by.
_ROUNDING = 1e-6
_CHANGE = re.compile(r"(x?)(\d.*|\.\d.*)")


@dataclass(frozen=True)
class Change:
    """What one knob is to become.

    Attributes:
        number: a value; or a factor, of lr or of momentum's distance to 1.
        factor: whether it is one.
    """

    number: float
    factor: bool = False

    def __str__(self) -> str:
        return f"{'x' if self.factor else ''}{self.number:g}"


@dataclass(frozen=True)
class Range:
    """Where a study searches for a knob: the hyperparameter's name and its ends."""

    name: str
    low: float
    high: float


@dataclass(frozen=True)
class Bounds:
    """The Babysitter's own: lr is not lowered below the one, momentum at no point of its cycle raised above the other."""

    min_lr: float = 0.0
    max_momentum: float = 1.0


@dataclass(frozen=True)
class Request:
    """What a person asks for.

    Attributes:
        kind: ``nudge`` changes lr and momentum; ``rollback`` goes back to the last good snapshot, whose lr and momentum come
            back too; ``pause`` holds the fit until ``resume``; ``stop`` ends it.
        at: ``step`` is before the next batch, ``epoch`` before the first batch of the next epoch.
        lr: of a nudge, or None. The value is the highest rate's; the others keep their proportion to it.
        momentum: of a nudge, or None. The value is the highest momentum's.
        lr_range: where the study searches for lr, which a nudge is not to leave; None where there is no such bound.
        momentum_range: the same for momentum.
        id: its name among the fit's requests; later ones sort behind.
    """

    kind: Kind
    at: At = "step"
    lr: Change | None = None
    momentum: Change | None = None
    lr_range: Range | None = None
    momentum_range: Range | None = None
    id: str = ""

    def sentence(self) -> str:
        """The request in words.

        >>> Request("nudge", lr=Change(0.5, factor=True), momentum=Change(0.95)).sentence()
        'asked for: nudge lr=x0.5 momentum=0.95'
        """
        changes = [f"{name}={change}" for name in KNOBS if (change := getattr(self, name)) is not None]
        return " ".join(["asked for:", self.kind, *changes])

    def to_plain(self) -> dict[str, Any]:
        """The request as a dict that JSON can hold.

        >>> Request("nudge", lr=Change(0.01)).to_plain()
        {'kind': 'nudge', 'at': 'step', 'lr': {'number': 0.01, 'factor': False}, 'id': ''}
        """
        return {key: value for key, value in asdict(self).items() if value is not None}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Request:
        """The request of such a dict, checked: it may come from anywhere.

        Raises:
            ConfigError: it is none.

        >>> Request.from_plain({"kind": "stop", "at": "epoch"}).sentence()
        'asked for: stop'
        """
        try:
            lr, momentum = (_change_of(key, **plain[key]) if plain.get(key) else None for key in KNOBS)
            lrs, momenta = (_range_of(**plain[key]) if plain.get(key) else None for key in ("lr_range", "momentum_range"))
            request = Request(plain["kind"], plain["at"], lr, momentum, lrs, momenta, str(plain.get("id", "")))
        except (AttributeError, KeyError, TypeError) as error:
            raise ConfigError(f"this is no request ({error!r})") from None
        one_of("kind", request.kind, KINDS)
        one_of("at", request.at, get_args(At))
        if (request.kind == "nudge") != bool(lr or momentum):
            raise ConfigError(f"a {request.kind} with {'something' if lr or momentum else 'nothing'} to change is no request")
        return request


def parse_changes(words: Iterable[str]) -> dict[str, Change]:
    """The changes that a person types.

    Args:
        words: each ``lr=`` or ``momentum=`` with a value, such as ``0.01``, or a factor, such as ``x0.5``: of lr, or of
            momentum's distance to 1, so that ``momentum=x0.5`` takes 0.9 to 0.95.

    Raises:
        ConfigError: there is none, or one is wrong.

    >>> parse_changes(["lr=x0.5", "momentum=0.95"])
    {'lr': Change(number=0.5, factor=True), 'momentum': Change(number=0.95, factor=False)}
    """
    changes: dict[str, Change] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ConfigError(f"{word!r} is no change: write lr=x0.5, lr=0.01 or momentum=0.95")
        if name not in KNOBS:
            raise ConfigError(f"{word!r}: {name} is not one of {', '.join(KNOBS)}{did_you_mean(name, KNOBS)}")
        if name in changes:
            raise ConfigError(f"{word!r}: {name} is there twice")
        changes[name] = _parsed(name, text)
    if not changes:
        raise ConfigError("there is nothing to change: write lr=x0.5, lr=0.01 or momentum=0.95")
    return changes


def actions(
    request: Request,
    now: Sequence[Knobs],
    peaks: Sequence[Knobs],
    bounds: Bounds,
    snapshot: str | None,
) -> tuple[Action, ...]:
    """What a request comes to; of ``pause`` and ``resume`` nothing, for they change no state.

    Args:
        request: the person's.
        now: lr and momentum of each parameter group, numbered through all optimizers.
        peaks: the same, with each momentum the highest of its cycle.
        bounds: the Babysitter's own, which hold for people too.
        snapshot: the name of the one to go back to, if there is any.

    Raises:
        ConfigError: it is refused; the message says why.

    >>> actions(Request("nudge", lr=Change(0.05)), [Knobs(0.1, 0.9)], [Knobs(0.1, 0.9)], Bounds(), None)
    (Adjust(moves=(Move(lr_factor=0.5, momentum_factor=1.0),)),)
    """
    if request.kind == "rollback":
        if snapshot is None:
            raise ConfigError("there is no snapshot to go back to yet")
        return (Rollback(snapshot, keep_moves=False),)
    if request.kind == "stop":
        return (Stop(),)
    if request.kind in ("pause", "resume"):
        return ()
    lr_factor = 1.0 if request.lr is None else _lr_factor(request.lr, now, bounds, request.lr_range)
    factors = [1.0] * len(now)
    if request.momentum is not None:
        factors = _momentum_factors(request.momentum, now, peaks, bounds, request.momentum_range)
    return (Adjust(tuple(Move(lr_factor, factor) for factor in factors)),)


def _parsed(name: str, text: str) -> Change:
    found = _CHANGE.fullmatch(text)
    try:
        number = float(found[2]) if found else math.nan
    except ValueError:
        number = math.nan
    if found is None or math.isnan(number):
        raise ConfigError(f"{name}={text} needs a value, such as {name}=0.01, or a factor, such as {name}=x0.5")
    return _change_of(name, number, bool(found[1]))


def _change_of(name: str, number: Any, factor: Any = False) -> Change:
    change = Change(_number(name, number), bool(factor))
    if change.factor or name == "lr":
        if not 0 < change.number < math.inf:
            raise ConfigError(f"{name}={change} needs a {'factor' if change.factor else 'value'} above 0 and finite")
    elif not 0 <= change.number < 1:
        raise ConfigError(f"momentum={change} needs a value from 0 to below 1, or a factor of its distance to 1, such as x0.5")
    return change


def _range_of(name: Any, low: Any, high: Any) -> Range:
    return Range(str(name), _number("low", low), _number("high", high))


def _number(name: str, value: Any) -> float:
    if not is_number(value):
        raise ConfigError(f"{name}={value!r} is no number")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _lr_factor(change: Change, now: Sequence[Knobs], bounds: Bounds, searched: Range | None) -> float:
    highest = max((group.lr for group in now), default=0.0)
    if not 0 < highest < math.inf:
        raise ConfigError(f"lr is {highest:g} at this point of its schedule, which no nudge changes: ask again later")
    factor = change.number if change.factor else change.number / highest
    coming = [group.lr * factor for group in now if group.lr > 0]
    if not all(0 < lr < math.inf for lr in coming):
        raise ConfigError(f"lr {highest:.4g} times {factor:.4g} is no number that training can use")
    if factor < 1 and min(coming) < bounds.min_lr * (1 - _ROUNDING):
        raise ConfigError(f"lr would be {min(coming):.4g}, and the Babysitter's min_lr is {bounds.min_lr:.4g}")
    _check_range("lr", highest, highest * factor, searched)
    return factor


def _momentum_factors(
    change: Change, now: Sequence[Knobs], peaks: Sequence[Knobs], bounds: Bounds, searched: Range | None
) -> list[float]:
    momenta = [group.momentum for group in now if group.momentum is not None]
    if not momenta:
        raise ConfigError("the optimizer has no momentum to change")
    highest = max(momenta)
    if highest >= 1:
        raise ConfigError(f"momentum is {highest:g}, which has no distance to 1 to change")
    factor = change.number if change.factor else (1 - change.number) / (1 - highest)
    # Momentum 0 beside others is a choice of plain gradient descent, not a small momentum.
    factors = [factor if group.momentum or (group.momentum == 0 and not highest) else 1.0 for group in now]
    coming = 1 - (1 - highest) * factor
    if coming < -_ROUNDING:
        raise ConfigError(f"momentum would be {coming:.4g}, and needs at least 0")
    moved = (group.momentum or 0.0 for group, own in zip(peaks, factors, strict=True) if own != 1.0)
    peak = 1 - (1 - max(moved, default=highest)) * factor
    if factor < 1 and 1 - peak < (1 - bounds.max_momentum) * (1 - _ROUNDING):
        where = "" if math.isclose(peak, coming) else " at the highest of its cycle"
        raise ConfigError(f"momentum would be {peak:.6g}{where}, and the Babysitter's max_momentum is {bounds.max_momentum:g}")
    _check_range("momentum", highest, coming, searched)
    return factors


def _check_range(knob: str, then: float, coming: float, searched: Range | None) -> None:
    """Refuses to leave the range, not to come nearer to it from outside."""
    if searched is None:
        return
    slack = _ROUNDING * abs(coming)
    if (coming < then and coming < searched.low - slack) or (coming > then and coming > searched.high + slack):
        raise ConfigError(
            f"{knob} would be {coming:.4g}, and the study searches {searched.name} from {searched.low:g} to {searched.high:g}; "
            "--anyway goes beyond"
        )
