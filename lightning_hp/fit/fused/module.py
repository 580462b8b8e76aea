"""The LightningModule that Lightning trains in a fused fit: all trials' models as one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor, nn
from torch.optim import Optimizer

from lightning_hp.fit.attempt import out_of_memory
from lightning_hp.fit.copies import hold_once
from lightning_hp.fit.fused.babysitting import Babysitting, connect
from lightning_hp.fit.fused.best import BestWeights
from lightning_hp.fit.fused.carried import Carried
from lightning_hp.fit.fused.check import check, seconds
from lightning_hp.fit.fused.errors import CannotFuseError
from lightning_hp.fit.fused.feed import loading_seconds
from lightning_hp.fit.fused.graphs import GRAPHS, StepGraphs
from lightning_hp.fit.fused.logs import Entry, EpochLogs
from lightning_hp.fit.fused.loss_scales import LossScales, loss_scales
from lightning_hp.fit.fused.member import Member
from lightning_hp.fit.fused.optimizer import FusedOptimizer, mismatch, row_norms, unscales_by_itself
from lightning_hp.fit.fused.rows_at_once import most_at_once
from lightning_hp.fit.fused.stack import Stack
from lightning_hp.fit.fused.state import Path, aliases, find, readable
from lightning_hp.fit.fused.step import FusedStep
from lightning_hp.fit.fused.step_output import StepOutput, loss_of
from lightning_hp.fit.fused.trees import per_row
from lightning_hp.fit.rng import kept_rngs

# Milliseconds from which on it is told what batches take.
_SHOWN = 1.0


class FusedModule(LightningModule):
    """Trains the members' models together.

    Args:
        members: the trials; those that stop leave.
        always: also where the ordinary steps are faster.

    Attributes:
        losses: of the last training step, one per member.
        returned: what the last step returned, its tensors with a first axis for the members.
    """

    def __init__(self, members: Sequence[Member], always: bool = False) -> None:
        super().__init__()
        self.always = always
        # By the step's name.
        self._takes_index: dict[str, bool] = {}
        self._checked: set[tuple[str, int]] = set()
        # By step and loader, what the tensors were when it was last found out how many rows it takes at once.
        self._measured: dict[tuple[str, int], int] = {}
        # Milliseconds of both kinds of steps, until the second batch, where only loading once for all makes it faster.
        self._doubtful: tuple[float, float, int] | None = None
        self.members = list(members)
        self._best = BestWeights([member.attempt.trial.number for member in members])
        self.logs = {"training_step": EpochLogs(training=True), "validation_step": EpochLogs(training=False)}
        # The metrics whose values of an epoch the members are about to be told.
        self._told: set[str] = set()
        self.losses = torch.empty(0)
        self.returned: Any = None
        # The babysitters of those that train.
        self.babysitting = Babysitting([])
        # Ends the members that have failed before the training.
        self.let_failed_go: Callable[[], None] = lambda: None
        self._aliases: dict[Path, tuple[str, Tensor]] = {}
        self._trained: frozenset[str] = frozenset()
        self.step: FusedStep
        # By the step's name, where the device has such a thing.
        self.graphs: dict[str, StepGraphs] = {}
        # Of the last training step, if it was a replay.
        self._gradients: Mapping[str, Tensor] | None = None
        self.optimizer: FusedOptimizer

    def __setattr__(self, name: str, value: Any) -> None:
        # nn.Module looks first whether it is a parameter or a part, of which there are none: Lightning sets some dozens a step.
        object.__setattr__(self, name, value)

    def configure_optimizers(self) -> FusedOptimizer:
        for member in self.members:
            member.trainer.strategy.model_to_device()
            hold_once(member.model, self.members[0].model)
        models = [member.model for member in self.members]
        # Before the stack has the parameters in memory of its own.
        self._aliases = aliases(models[0])
        self._trained = _trained(models[0])
        # First, since numbers that differ in models of different structure, such as a width, are no numbers to carry.
        stack = Stack(models)
        carried = Carried(models, self.trainer.strategy.root_device, _kept_twice(self._aliases))
        self._setup_optimizers(stack, carried)
        models = [member.model for member in self.members]
        optimizers = [member.trainer.strategy.optimizers[0] for member in self.members]
        reason = mismatch(optimizers, models)
        if reason is not None:
            raise CannotFuseError(reason)
        self.step = FusedStep(stack, carried)
        if self.trainer.strategy.root_device.type in GRAPHS:
            self.graphs = {name: StepGraphs(self.step, name) for name in self.logs}
        self.optimizer = FusedOptimizer(stack, optimizers, self._loss_scales())
        if self.optimizer.scales is not None and unscales_by_itself(self.optimizer, bool(self.trainer.gradient_clip_val)):
            raise CannotFuseError("the optimizer unscales gradients by itself")
        for member, optimizer in zip(self.members, optimizers, strict=True):
            member.checkpoints.refresh = partial(self._refresh, optimizer)
        return self.optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        args = self._arguments("training_step", batch, batch_idx)
        doubtful, self._doubtful = self._doubtful, None
        if doubtful is not None:
            self._refuse_if_slower(*doubtful)
        self._check("training_step", args)
        replayed = self._replayed("training_step", args)
        self._gradients = None if replayed is None else self.graphs["training_step"].gradients
        output = replayed or self.step("training_step", *args)
        losses = loss_of(output)
        self.losses, self.returned = losses, output.output
        self.step.lists.give(self.step.stack.models, output.added)
        self.logs["training_step"].add(output.logged, batch, self.step.metrics.values)
        # Each member's gradient is that of its own loss.
        total: Tensor = losses.sum()
        return total

    def backward(self, loss: Tensor, *args: Any, **keywords: Any) -> None:
        losses, self.losses = self.losses, self.losses.detach()
        if not self.optimizer.vectorized:
            self.optimizer.losses = self.losses / self.trainer.accumulate_grad_batches
        scales = self.optimizer.scales
        if self._gradients is not None:
            self.optimizer.take_gradients(self._gradients, self.trainer.accumulate_grad_batches > 1)
        elif scales is None:
            torch.autograd.backward(loss)
        else:
            # In the order of a fit by itself: of a loss in half precision, a scale may be infinite where its share is not.
            torch.autograd.backward(losses, scales.of(losses) / self.trainer.accumulate_grad_batches)
        self.babysitting.after_backward(self.optimizer, self.trainer.fit_loop._should_accumulate())

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.optimizer.unscale()
        self.babysitting.before_step(self.optimizer, self.trainer.fit_loop.epoch_loop.batch_idx)

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        several = len(self.trainer.num_val_batches) > 1
        args = (*self._arguments("validation_step", batch, batch_idx), *([dataloader_idx] if several else []))
        self._check("validation_step", args, dataloader_idx)
        output = self._replayed("validation_step", args) or self.step("validation_step", *args)
        self.returned = output.output
        self.step.lists.give(self.step.stack.models, output.added)
        self.logs["validation_step"].add(output.logged, batch, self.step.metrics.values, dataloader_idx if several else None)

    def _replayed(self, name: str, args: tuple[Any, ...]) -> StepOutput | None:
        """What a step gives, by a recording of it; None where there is none."""
        if name not in self.graphs:
            return None
        scales = self.optimizer.scales
        factors = None if scales is None else scales.values.to(self.trainer.strategy.root_device)
        return self.graphs[name](args, factors, self.trainer.accumulate_grad_batches)

    def _arguments(self, name: str, batch: Any, batch_idx: int) -> tuple[Any, ...]:
        if name not in self._takes_index:
            step = getattr(self.step.template, name)
            self._takes_index[name] = is_param_in_hook_signature(step, "batch_idx", min_args=2)
        return (batch, batch_idx) if self._takes_index[name] else (batch,)

    @property
    def hooked(self) -> bool:
        """Whether code of the user's runs between the epochs' steps of any member."""
        return any(member.hooked for member in self.members)

    def has_checked(self, name: str) -> bool:
        """Whether steps of that name have been compared with the ordinary ones."""
        return any(name == each for each, _ in self._checked)

    def _check(self, name: str, args: tuple[Any, ...], dataloader_idx: int = 0) -> None:
        """Compares the first step of each kind with the ordinary ones."""
        if self._measured.get((name, dataloader_idx)) != self.step.stack.shared.changes:
            self.step.most[name] = most_at_once(self.step, name, args)
            self._measured[name, dataloader_idx] = self.step.stack.shared.changes
        if (name, dataloader_idx) in self._checked:
            return
        self._checked.add((name, dataloader_idx))
        self.step.metrics.scatter()
        check(self.step, name, args)
        self._refuse_aliases()
        # What the check's steps have made in the models is no doing of hooks.
        self.step.look()
        if name == "training_step":
            self._check_time(args)

    def _refuse_aliases(self) -> None:
        """Refuses what was in a parameter's memory and is no longer, unless steps make it anew, as spectral_norm does."""
        for path, (name, tensor) in self._aliases.items():
            if not isinstance(tensor, nn.Parameter) and find(self.members[0].model, path) is tensor:
                raise CannotFuseError(f"{readable(path)} is in the memory of {name}, which trains", by_numbers=False)

    def _check_time(self, args: tuple[Any, ...]) -> None:
        fused, ordinary = (1e3 * each for each in seconds(self.step, args, partial(self._replayed, "training_step", args)))
        if fused > ordinary and not self.always:
            times = fused, ordinary, len(self.members)
            self._refuse_if_slower(*times)
            # The first batch may take long for what is done once only, such as to open a file: the next one is looked at, too.
            self._doubtful = times

    def _refuse_if_slower(self, fused: float, ordinary: float, count: int) -> None:
        """Refuses to go on where a fused step is slower by more than is saved by loading a batch once for all."""
        loading = 1e3 * loading_seconds(self.trainer)
        if fused + loading > ordinary + count * loading:
            batches = f", with batches of {loading:.1f} ms" if loading >= _SHOWN else ""
            reason = f"a fused step takes {fused:.1f} ms, {count} ordinary ones take {ordinary:.1f}{batches}"
            raise CannotFuseError(reason, by_numbers=False)

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        if not gradient_clip_val:
            return
        gradients = self.optimizer.gradients
        if gradient_clip_algorithm == "value":
            for gradient in gradients:
                gradient.clamp_(-gradient_clip_val, gradient_clip_val)
            return
        # As torch.nn.utils.clip_grad_norm_, for each row.
        scale = (gradient_clip_val / (row_norms(gradients) + 1e-6)).clamp(max=1.0)
        for gradient in gradients:
            gradient.mul_(per_row(scale, gradient).to(gradient.dtype))

    def _setup_optimizers(self, stack: Stack, carried: Carried) -> None:
        """Has each member make its own; those that fail leave."""
        with kept_rngs():
            for member in self.members:
                member.guarded(member.setup_optimizer)
                if member.error is not None and out_of_memory(member.error):
                    raise member.error
        rows = [row for row, member in enumerate(self.members) if member.error is None]
        if len(rows) < len(self.members):
            self.let_failed_go()
            stack.keep(rows)
            carried.keep(rows)

    def _loss_scales(self) -> LossScales | None:
        """The members' own; the plugin of the Trainer that trains them would have one for all."""
        scales = loss_scales([member.trainer.precision_plugin for member in self.members])
        if scales is not None:
            self.trainer.precision_plugin.scaler = None  # type: ignore[attr-defined]
        return scales

    @contextmanager
    def only(self, rows: Sequence[int]) -> Iterator[None]:
        """Has steps run for these members alone, for a while."""
        everything = self.members, self.step, self.logs, self.graphs
        self.step.scatter()
        self.members = [self.members[row] for row in rows]
        models = [member.model for member in self.members]
        lists = self.step.lists
        with lists.apart(models):
            carried = Carried(models, self.trainer.strategy.root_device, self.step.carried.unseen)
            most, self.step = self.step.most, FusedStep(Stack(models), carried, lists.grown)
            self.step.most = most
        self.logs = {name: EpochLogs(logs.training) for name, logs in self.logs.items()}
        self.graphs = {}
        try:
            yield
        finally:
            self.members, self.step, self.logs, self.graphs = everything
            self.step.stack.follow()

    def babysit(self) -> None:
        """Has the members' babysitters begin, once their optimizers have what they go on from."""
        self.babysitting = Babysitting(self.members)
        for member in self.members:
            connect(member, member.checkpoints.refresh, partial(self._follow_row, member))

    def _refresh(self, optimizer: Optimizer) -> None:
        self.step.stack.shared.hand_out()
        self.optimizer.distribute(optimizer)

    def _follow_row(self, member: Member) -> None:
        self.step.stack.follow_shared()
        self.optimizer.follow_row(self.members.index(member))

    def keep(self, rows: list[int]) -> None:
        """Leaves only these members."""
        self.members = [self.members[row] for row in rows]
        if not rows:
            return
        self.babysitting.keep(rows)
        # Before there are two stacks.
        for graphs in self.graphs.values():
            graphs.forget()
        self.step.keep(rows)
        self.optimizer.keep(rows)
        for logs in self.logs.values():
            logs.keep(rows)

    def keep_best(self) -> None:
        """Copies the weights of those members that are better than before."""
        due = {row: member for row, member in enumerate(self.members) if member.checkpoints.best_is_due}
        if due:
            self._best.keep(self.step.stack, {row: member.attempt.trial.number for row, member in due.items()})
            for member in due.values():
                member.checkpoints.keep_best(partial(self._best.of, member.attempt.trial.number))

    def compute_metrics(self, logs: Sequence[Entry]) -> None:
        """Computes the metric objects that were logged in an epoch, where that can be done for all members at once."""
        for entry in logs if not self.hooked else ():
            if entry.metric is None or not entry.on_epoch or entry.settled:
                continue
            values = self.step.metrics.computed(entry.metric)
            if values is not None:
                entry.take(values)
                self._told.add(entry.metric)

    def reset_metrics(self) -> None:
        """Has those begin anew, once all members have been told, and takes over that the members' own have."""
        while self._told:
            self.step.metrics.reset(self._told.pop())
        self.step.metrics.gather(self.hooked)

    def before_hooks(self) -> None:
        """Gives the members what steps have made, for their hooks to look at."""
        self.step.scatter(self.hooked)
        if self.hooked:
            self.step.refuse_late_changes()

    def follow_hooks(self) -> None:
        """Takes over what the members' hooks may have changed: numbers, modes, what is frozen or steps, metrics."""
        self.step.follow_modes()
        self.step.metrics.gather(self.hooked)
        # To look through all models takes as long as some steps of small ones.
        if self.hooked:
            self._follow_thawed()
            self.step.follow_values()
            self.step.stack.follow()
            self.optimizer.follow()

    def follow_batch_hooks(self) -> None:
        """Does that between batches, as far as something has changed."""
        self._follow_thawed()
        self.step.follow_batch_hooks()

    def _follow_thawed(self) -> None:
        """Has steps refused that read by another place what has only now begun to train."""
        trained = _trained(self.members[0].model)
        if trained == self._trained:
            return
        self._trained, self._aliases = trained, aliases(self.members[0].model)
        self.step.carried.unseen = _kept_twice(self._aliases)


def _trained(model: nn.Module) -> frozenset[str]:
    """The names of what trains by now."""
    return frozenset(name for name, parameter in model.named_parameters() if parameter.requires_grad)


def _kept_twice(found: Mapping[Path, tuple[str, Tensor]]) -> dict[Path, str]:
    """What to say of each place besides its own where there is a parameter that trains."""
    parameters = {path: name for path, (name, tensor) in found.items() if isinstance(tensor, nn.Parameter)}
    return {path: f"{readable(path)} is {name}, which trains" for path, name in parameters.items()}
