"""The torchmetrics objects of a fused job's models.

States that are tensors are stacked and updated by the step itself, for all rows at once; between steps they are given back for
all else. A metric that keeps lists of what it has seen cannot be stacked, and one that branches on what it is given, such as a
mean that leaves out NaN, cannot be updated for all rows at once: of such a one the step only takes down what it is called with,
and each model's own is called with its row of that after the step.

What a metric has come to at the end of an epoch is computed for all rows at once as well, where that gives what the models' own
metrics give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import vmap
from torchmetrics import Metric, MetricCollection

from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.overrides import Vectorizable

# By the metric's path in the module, then by the name of the state.
States: TypeAlias = dict[str, dict[str, Tensor]]


@dataclass
class Call:
    """A call of a metric in a step.

    Attributes:
        path: of the metric in the module.
        method: ``update``, or ``forward``, which also gives the batch's value.
        arguments: positional and by keyword.
    """

    path: str
    method: str
    arguments: tuple[tuple[Any, ...], Mapping[str, Any]]


@dataclass(frozen=True)
class Pending:
    """The value that a call will give after the step: it can be logged, and nothing else.

    Attributes:
        call: the number of the call in the step.
    """

    call: int

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise CannotFuseError("the step uses the value of a metric that is called for each trial after the step")


class MetricStates:
    """States of the metrics of all rows.

    Args:
        models: one per row.
        template: the module that runs the steps.

    Attributes:
        failed: those whose calls within the step have failed, by path.
    """

    def __init__(self, models: Sequence[nn.Module], template: nn.Module) -> None:
        self.models = list(models)
        self.states: States = {}
        self.values: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self._counted: dict[str, int] = {}
        self.calls: list[Call] = []
        self.template = metrics(template)
        self._stacked = {path: metric for path, metric in self.template.items() if not _keeps_lists(metric)}
        # Those that are computed for all rows at once, once it is known.
        self._at_once: dict[str, bool] = {}
        self._defaults: dict[str, dict[str, Any]] = {path: metric._defaults for path, metric in self._stacked.items()}
        for metric in self._stacked.values():
            # Checks look at the values; the first batch is checked in the ordinary step.
            if hasattr(metric, "validate_args"):
                metric.validate_args = False
        for part in template.modules():
            if isinstance(part, MetricCollection):
                part._enable_compute_groups = False
        self.failed: set[str] = set()
        for path in self.template:
            (self._note_failures if path in self._stacked else self._take_down_calls)(path)
        self.gather()

    def gather(self, computed: bool = True) -> None:
        """Stacks the states that the models' metrics have now.

        Args:
            computed: also of those that are computed at once, whose models' own may be long out of date.
        """
        self.values = {}
        for path, defaults in self._defaults.items():
            if self._at_once.get(path) and not computed:
                continue
            owns = self._owns(path)
            self.counts[path] = owns[0]._update_count
            self.states[path] = {name: torch.stack([getattr(own, name) for own in owns]) for name in defaults}

    @property
    def any(self) -> bool:
        """Whether the models have metrics at all."""
        return bool(self.template)

    def scatter(self, computed: bool = True) -> None:
        """Gives each model's metrics their row.

        Args:
            computed: also those that are computed at once.
        """
        for path, states in self.states.items():
            if self._at_once.get(path) and not computed:
                continue
            columns = {name: [row.clone() for row in tensor.unbind()] for name, tensor in states.items()}
            for row, own in enumerate(self._owns(path)):
                given = {name: column[row] for name, column in columns.items()}
                value = self.values[path][row] if path in self.values else own._forward_cache if self.counts[path] else None
                vars(own).update(given, _computed=None, _update_count=self.counts[path], _forward_cache=value)

    def computed(self, path: str) -> Tensor | None:
        """The values of a metric for all rows; None where each model's own is to be asked.

        The first time, the models' own are to have their rows, to compare with.
        """
        if not self._at_once.get(path, path in self._stacked):
            return None
        try:
            values = self._computed(path)
            if path not in self._at_once:
                owns = self._owns(path)
                own = torch.stack([metric.compute() for metric in owns])
                persistent = any(any(metric._persistent.values()) for metric in owns)
                self._at_once[path] = not persistent and values.dim() == 1 and _alike(own, values)
        except Exception:
            # It does what vmap cannot, or fails, of which its own trial is to hear.
            self._at_once[path] = False
            self.scatter()
        return values if self._at_once[path] else None

    def call_apart(self) -> None:
        """Has the metrics whose calls have failed within the step called for each row after it, from the next step on.

        The models' own are to have their rows.
        """
        for path in self.failed:
            del self._stacked[path], self._defaults[path]
            self._take_down_calls(path)
        self.failed = set()
        self._keep_stacked()

    def _keep_stacked(self) -> None:
        self.states = {path: each for path, each in self.states.items() if path in self._stacked}
        self.values = {path: each for path, each in self.values.items() if path in self._stacked}
        self.counts = {path: each for path, each in self.counts.items() if path in self._stacked}

    def reset(self, path: str) -> None:
        """Has a metric of all rows begin anew, as its own ``reset`` does."""
        _, resets = self.inputs
        self.states[path] = {name: reset.clone() for name, reset in resets[path].items()}
        self.counts[path] = 0
        self.values.pop(path, None)

    @torch.no_grad()
    def _computed(self, path: str) -> Tensor:
        metric, defaults = self._stacked[path], self._defaults[path]

        def one(states: dict[str, Tensor]) -> Tensor:
            vars(metric).update(states, _update_count=self.counts[path], _computed=None)
            with Vectorizable():
                return metric.compute()  # type: ignore[no-any-return]

        try:
            values: Tensor = vmap(one)(self.states[path])
            return values
        finally:
            vars(metric).update(defaults, _computed=None)

    @property
    def inputs(self) -> tuple[States, States]:
        """States, and those of a metric that is reset, which a step takes with a first axis for the rows."""
        rows = len(self.models)
        resets = {
            path: {name: reset.to(self.states[path][name].device).expand(rows, *reset.shape) for name, reset in each.items()}
            for path, each in self._defaults.items()
        }
        return self.states, resets

    @contextmanager
    def lent(self, states: States, resets: States) -> Iterator[dict[str, Any]]:
        """Has the template's metrics work on these states; what comes of it is in the given dict afterwards."""
        after: dict[str, Any] = {}
        self.calls = []
        for path, metric in self._stacked.items():
            # Metric's own __setattr__, and nn.Module's, would take most of the time.
            vars(metric).update(states[path], _defaults=resets[path], _update_count=self.counts[path], _computed=None)
        try:
            yield after
            for path, metric in self._stacked.items():
                after[path] = {name: getattr(metric, name) for name in states[path]}, metric._forward_cache
                # A step may run for some rows after others.
                self._counted[path] = metric._update_count
        finally:
            for path, metric in self._stacked.items():
                defaults = self._defaults[path]
                vars(metric).update(defaults, _defaults=defaults, _forward_cache=None, _computed=None, _cache=None)

    def take(self, after: Mapping[str, Any], calls: Sequence[Call]) -> list[Any]:
        """Takes what a step has made of the states, and makes the calls that it took down.

        Returns:
            The value of each call, with a first axis for the rows.
        """
        for path, (states, _) in after.items():
            self.states[path], self.counts[path] = states, self._counted[path]
        self.values = {path: value for path, (_, value) in after.items() if isinstance(value, Tensor)}
        values: list[Any] = []
        for call in calls:
            # One may take the value of another.
            call = replace(call, arguments=_resolved(call.arguments, values))
            values.append(self._made(call, self._owns(call.path)))
            if call.method == "forward" and values[-1] is not None:
                self.values[call.path] = values[-1]
        return values

    @contextmanager
    def borrowed(self, states: States) -> Iterator[None]:
        """Has other states in the place of its own for a while."""
        own = self.states, self.values, dict(self.counts)
        self.states = dict(states)
        try:
            yield
        finally:
            self.states, self.values, self.counts = own

    def snapshot(self) -> Callable[[], None]:
        """Keeps everything as it is; what it returns brings it back."""
        # Some are updated in place.
        states, values, counts = _copied(self.states), dict(self.values), dict(self.counts)
        lists = [
            (metric, {**metric._copy_state_dict(), "_update_count": metric._update_count, "_computed": metric._computed})
            for model in (self.models if self.any else ())
            for path, metric in metrics(model).items()
            if path not in self._stacked
        ]

        def restore() -> None:
            self.states, self.values, self.counts = _copied(states), values, counts
            self.scatter()
            # What is called apart by now has its rows.
            self._keep_stacked()
            for metric, kept in lists:
                vars(metric).update(kept)

        return restore

    def _owns(self, path: str) -> list[Any]:
        """The metric at a path of each model."""
        # To walk through all of a model's parts takes longer than what is done with the metric.
        return list(map(attrgetter(path), self.models))

    def _note_failures(self, path: str) -> None:
        def noted(call: Callable[..., Any]) -> Callable[..., Any]:
            def run(*args: Any, **keywords: Any) -> Any:
                try:
                    return call(*args, **keywords)
                except Exception:
                    self.failed.add(path)
                    raise

            return run

        metric = self.template[path]
        vars(metric).update(update=noted(metric.update), forward=noted(metric.forward))

    def _take_down_calls(self, path: str) -> None:
        def update(*args: Any, **keywords: Any) -> None:
            self.calls.append(Call(path, "update", (args, keywords)))

        def forward(*args: Any, **keywords: Any) -> Pending:
            self.calls.append(Call(path, "forward", (args, keywords)))
            return Pending(len(self.calls) - 1)

        def other(*args: Any, **keywords: Any) -> Any:
            raise CannotFuseError(f"the step resets or computes {path}, a metric that is called for each trial after the step")

        vars(self.template[path]).update(update=update, forward=forward, compute=other, reset=other)

    @staticmethod
    @torch.no_grad()
    def _made(call: Call, owns: Sequence[Metric]) -> Tensor | None:
        args, keywords = call.arguments
        values = []
        for row, metric in enumerate(owns):
            own_args, own_keywords = [_of_row(each, row) for each in args], {k: _of_row(v, row) for k, v in keywords.items()}
            values.append(getattr(metric, call.method)(*own_args, **own_keywords))
        return torch.stack(values) if all(isinstance(value, Tensor) for value in values) else None


def metrics(module: nn.Module) -> dict[str, Metric]:
    """All metrics in a module, by path."""
    return {path: part for path, part in module.named_modules() if isinstance(part, Metric)}


def _copied(states: States) -> States:
    return {path: {name: state.clone() for name, state in each.items()} for path, each in states.items()}


def _alike(own: Tensor, at_once: Tensor) -> bool:
    return own.dtype == at_once.dtype and torch.allclose(own, at_once, rtol=1e-4, equal_nan=True)


def _keeps_lists(metric: Metric) -> bool:
    return any(isinstance(default, list) for default in metric._defaults.values())


def _resolved(arguments: Any, values: Sequence[Any]) -> Any:
    args, keywords = arguments
    return tuple(_value_of(each, values) for each in args), {key: _value_of(each, values) for key, each in keywords.items()}


def _value_of(argument: Any, values: Sequence[Any]) -> Any:
    return values[argument.call] if isinstance(argument, Pending) else argument


def _of_row(value: Any, row: int) -> Any:
    return value[row] if isinstance(value, Tensor) else value
