"""One step of the user's module for all rows at once: its own ``training_step`` or ``validation_step`` under vmap."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.func import vmap

from lightning_hp.fit.copies import hold_once
from lightning_hp.fit.fused.carried import Carried
from lightning_hp.fit.fused.errors import CannotFuseError, place_of
from lightning_hp.fit.fused.fresh import FreshRows, writes_into_fresh
from lightning_hp.fit.fused.lists import Lists, marked
from lightning_hp.fit.fused.made import Made
from lightning_hp.fit.fused.metrics import MetricStates, Pending
from lightning_hp.fit.fused.overrides import Vectorizable
from lightning_hp.fit.fused.places import Places
from lightning_hp.fit.fused.shared_trainer import SharedTrainer
from lightning_hp.fit.fused.stack import Stack
from lightning_hp.fit.fused.state import Path
from lightning_hp.fit.fused.step_output import StepOutput, metric_paths, step_log
from lightning_hp.fit.fused.trees import put_together, taken_apart, unshared
from lightning_hp.fit.rng import rng_states, set_rng_states


class FusedStep:
    """Runs steps of a template module with every row's tensors and numbers, all at once.

    Args:
        stack: the models' tensors.
        carried: the models' numbers.
        grown: the models' lists that have grown, see `Lists`.

    Attributes:
        randomness: whether each row draws random numbers of its own (``"different"``) or all draw the ``"same"``.
        most: rows that a step runs for at once, by its name; None for all.
        shared_trainer: what the step sees of the Trainer.
    """

    def __init__(self, stack: Stack, carried: Carried, grown: Mapping[Path, int] | None = None) -> None:
        self.stack = stack
        self.carried = carried
        self.template = _template(stack.models[0])  # type: ignore[arg-type]
        hold_once(self.template, stack.models[0])
        # The module itself only refers to it weakly.
        self.shared_trainer = SharedTrainer(self.template.trainer)
        self.template.trainer = self.shared_trainer  # type: ignore[assignment]
        self.metrics = MetricStates(stack.models, self.template)
        self.lists = Lists(self.template, grown)
        self.randomness = "different"
        self.most: dict[str, int | None] = {}
        self._places = Places(self.template)
        self._paths = metric_paths(self.template)
        # Steps, in the circumstances in which they have run, of what is not the same for all rows.
        self._settled: set[tuple[Any, ...]] = set()
        # Names of steps that write into new tensors.
        self._writing: set[str] = set()
        self._made = Made(self.template, stack.models[0])
        self._parts = list(self.template.modules())
        self._changes = 0

    @property
    def version(self) -> tuple[Any, ...]:
        """Another one whenever the step may do something else than before with the same tensors."""
        frozen = tuple(parameter.requires_grad for parameter in self.stack.parameters.values())
        return self._changes, self.stack.shared.changes, frozen, tuple(part.training for part in self._parts)

    def keep(self, rows: Sequence[int]) -> None:
        """Leaves only these rows, in this order."""
        self._changes += 1
        self.metrics.scatter()
        self.stack.shared.hand_out()
        self.stack.keep(rows)
        self.carried.keep(rows)
        self.metrics.models = list(self.stack.models)
        self.metrics.gather()
        if 0 not in rows:
            # What the template has of the first model is that of another now.
            self.follow_values()

    def scatter(self, computed: bool = True) -> None:
        """Gives the models what steps have made of all that is not a row of theirs, before hooks look at it.

        Args:
            computed: also of metrics that are computed at once.
        """
        self.metrics.scatter(computed)
        self.stack.shared.hand_out()
        if self._made.scatter(self.stack.models):
            self.look()

    def refuse_late_changes(self) -> None:
        """Refuses what steps have come to change that hooks may look at.

        Raises:
            CannotFuseError: there is such a thing.
        """
        model = self.stack.models[0]
        with self.lists.apart((model, self.template)):
            self._made.refuse_late(model)

    def follow_modes(self) -> None:
        """Takes over which parts of the models are in training mode: one that is frozen may stay in evaluation mode."""
        for own, other in zip(self.template.modules(), self.stack.models[0].modules(), strict=True):
            own.training = other.training

    def follow_values(self) -> None:
        """Takes over what the models' hooks have changed of numbers, lists and all else that the step may read."""
        models = self.stack.models
        self.lists.notice(models[0])
        with self.lists.apart((*models, self.template)):
            changed = self.carried.read(models)
            for name, key in changed:
                own, theirs = vars(self.template.get_submodule(name)), vars(models[0].get_submodule(name))
                if key in theirs:
                    own[key] = _copied(theirs[key], self._counterparts(models[0]))
                else:
                    own.pop(key, None)
        if changed:
            self._changes += 1
            self.lists.look()

    def _counterparts(self, model: nn.Module) -> dict[int, Any]:
        """What the template has in the place of a model's parts and tensors, by the ids of these."""
        kinds = (nn.Module.named_modules, nn.Module.named_parameters, nn.Module.named_buffers)
        owns, theirs = ({kind: dict(kind(each)) for kind in kinds} for each in (self.template, model))
        found = {id(each): owns[kind][name] for kind in kinds for name, each in theirs[kind].items() if name in owns[kind]}
        return {**found, id(model.trainer): self.shared_trainer}

    def follow_batch_hooks(self) -> None:
        """Does that where the first model has changed: to look through all takes as long as some steps of small ones.

        Tensors are looked at in all models, and in the first which parts are in training mode.
        """
        self.follow_modes()
        self.stack.follow_data()
        with self.lists.apart(self.stack.models[:1]):
            changed = self.carried.changed(self.stack.models[0])
        if changed:
            self.follow_values()

    def look(self) -> None:
        """Takes what has changed in the models by now for what the template has done as well."""
        with self.lists.apart(self.stack.models[:1]):
            self.carried.look(self.stack.models[0])

    def __call__(self, name: str, *args: Any) -> StepOutput:
        """Runs the step of that name.

        Raises:
            CannotFuseError: it does what vmap cannot.
        """
        self.lists.follow(self.stack.models[0])
        before = self._made.before(name)
        run = getattr(self.template, name)
        notes: dict[str, Any] = {}

        def one(tensors: dict[str, Tensor], numbers: list[Tensor], states: Any) -> list[Tensor]:
            with (
                self.carried.lent(self.template, numbers),
                self.metrics.lent(*states) as after,
                step_log(self.template, self._paths) as output,
                self._places.lent({**self.stack.shared.tensors, **tensors}) as renewed,
                self.lists.lent(name) as added,
                Vectorizable(),
                FreshRows(next(iter(tensors.values()))) if name in self._writing else nullcontext(),
            ):
                output.output = run(unshared(args[0]), *args[1:])
            values = [logged.values for logged in output.logged]
            calls = [call.arguments for call in self.metrics.calls]
            notes["parts"], leaves = taken_apart((output.output, values, renewed, after, calls, marked(added)))
            notes["logged"] = output.logged
            return leaves

        leaves = self._run(name, one)
        self._made.look(name, before, self.stack.models)
        output, values, renewed, after, arguments, added = put_together(notes["parts"], leaves)
        self.stack.replace(renewed)
        calls = [replace(call, arguments=given) for call, given in zip(self.metrics.calls, arguments, strict=True)]
        made = self.metrics.take(after, calls)
        values = [made[value.call] if isinstance(value, Pending) else value for value in values]
        logged = [replace(each, values=v) for each, v in zip(notes["logged"], values, strict=True)]
        return StepOutput(output, logged, added)

    def _run(self, name: str, one: Callable[..., list[Tensor]]) -> list[Tensor]:
        """Runs a step of a row for all rows.

        It is only found here what cannot be the same for all of them, and gets rows, and which metrics cannot be called for all
        at once, and are called for each after the step.
        """
        shared = self.stack.shared
        settled = (name, self.randomness, self.version) in self._settled
        undo = None if settled else self._undo()
        while True:
            try:
                leaves = self._run_rows(name, one)
                break
            except (RuntimeError, TypeError, ValueError, NotImplementedError) as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                if undo is not None and self.metrics.failed:
                    undo(separate=False)
                    self.metrics.call_apart()
                    continue
                if undo is not None and name not in self._writing and writes_into_fresh(error):
                    undo(separate=False)
                    self._writing.add(name)
                    continue
                if undo is None or not shared.tensors:
                    place = f" ({where})" if (where := place_of(error)) else ""
                    raise CannotFuseError(f"{name} cannot be vectorized: {first_line(error)}{place}") from error
                undo(separate=True)
        shared.stale = True
        if not settled:
            self._settled.add((name, self.randomness, self.version))
        return leaves

    def _undo(self) -> Callable[..., None]:
        """Keeps what a step changes.

        Returns:
            What brings it back, and is told whether what the step may have been unable to do for all rows alike gets rows.
        """
        tensors, restore_metrics, states = self.stack.snapshot(), self.metrics.snapshot(), rng_states()

        def undo(separate: bool) -> None:
            if separate:
                self.stack.separate(self.stack.shared.doubtful(tensors.shared))
            self.stack.restore(tensors)
            restore_metrics()
            set_rng_states(states)

        return undo

    def _run_rows(self, name: str, one: Callable[..., list[Tensor]]) -> list[Tensor]:
        """Runs it for as many rows at once as there may be."""
        inputs = ({**self.stack.parameters, **self.stack.buffers}, self.carried.tensors(), self.metrics.inputs)
        rows, most = len(self.stack.models), self.most.get(name)
        run = vmap(one, randomness=self.randomness)
        if most is None or rows <= most:
            return run(*inputs)
        parts = -(-rows // most)
        nest, tensors = taken_apart(inputs)
        # To split is one operation, also backwards; torch.func.vmap's own chunks fill a gradient of all rows for each.
        split = zip(*(torch.split(tensor, -(-rows // parts)) for tensor in tensors), strict=True)
        states, found = rng_states() if self.randomness == "same" else None, []
        kept = self.stack.shared.kept()
        for part in split:
            if states is not None:
                set_rng_states(states)
            # Of what all rows have in common, the last part's update is that of all.
            self.stack.shared.put_back(kept)
            found.append(run(*put_together(nest, list(part))))
        return [torch.cat(each) for each in zip(*found, strict=True)]


def first_line(error: BaseException) -> str:
    """An error's message as far as one line goes."""
    line = str(error).strip().partition("\n")[0].partition(". ")[0]
    return line if len(line) <= 160 else f"{line[:157]}..."


def _template(model: LightningModule) -> LightningModule:
    trainer = model.trainer
    # Of the fit it shall see what its model sees, and not have a copy of all that.
    model.trainer = None
    try:
        template: LightningModule = _copied(model)
    finally:
        model.trainer = trainer
    template.trainer = trainer
    return template


def _copied(value: Any, known: dict[int, Any] | None = None) -> Any:
    try:
        return copy.deepcopy(value, known)
    except Exception as error:
        raise CannotFuseError(f"the module cannot be copied ({type(error).__name__}: {error})") from error
