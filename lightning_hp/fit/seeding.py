"""Which seed rules when in a fit: the study's rules data and batch order, the trial's everything else.

A shuffling DataLoader draws its order from torch's global generator, which the model uses as well, so that two trials that
differ in dropout alone would see other batches. Here every loader gets a generator of its own for the time of the fit, seeded
before each epoch by the study's seed and the epoch's number.

The global generators are seeded before each epoch and each batch too, by the study's seed where a batch is loaded, by the
trial's where it is used. So no random number depends on those before it, and a fit that goes on from a checkpoint needs no
generator's state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.utilities.combined_loader import CombinedLoader
from torch.utils.data import DataLoader

from lightning_hp.fit.loading import end_seeding, seed_loading
from lightning_hp.fit.rng import isolated_rngs, rng_states, seed_cpu_rngs, seed_rngs, seeded_states, set_rng_states
from lightning_hp.fit.samplers import go_through, samplers_in
from lightning_hp.seeds import batch_seed, data_seed, epoch_seed, loaders_seed, loading_seed, trial_epoch_seed


class Seeding(Callback):
    """Seeds a fit. To stand first among its callbacks, and to be told when the fit begins and ends.

    Args:
        study_seed: decides data and batch order.
        trial_seed: decides all other random numbers.

    Until training starts the global generators belong to the study, since the data are set up in that time (splits, subsets);
    the trial's own are put aside and come back for the model's hooks.
    """

    def __init__(self, study_seed: int, trial_seed: int) -> None:
        self.study_seed = study_seed
        self.trial_seed = trial_seed
        self._trial_states: Any = None
        self._rank = 0
        self._lent: dict[int, _Lent] = {}
        # Loaders that Lightning has taken from those that it asked for last.
        self._taken = 0

    def before_fit(self) -> None:
        """Call right before ``Trainer.fit``: the datamodule's hooks come before any callback's."""
        self._lend()

    def after_fit(self) -> None:
        """Call when the fit is over, however it ended: gives the user's loaders their own generators back."""
        self._give_back()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        set_rng_states(self._trial_states)
        self._rank = trainer.global_rank
        for loop in (trainer.fit_loop, trainer.fit_loop.epoch_loop.val_loop):
            source = loop._data_source
            source.dataloader = partial(self._asked, trainer, source.dataloader)  # type: ignore[method-assign]
        process = trainer.strategy.process_dataloader

        # Lightning makes a loader's first iterator right after this call, before any hook of training; loaders with worker
        # processes draw the first epoch's order there.
        def with_own_generator(dataloader: object) -> object:
            if trainer.fit_loop.restarting:
                # Lightning does so by itself unless max_steps is set: our checkpoints are of whole epochs.
                _Loop.restarting.fset(trainer.fit_loop, False)  # type: ignore[attr-defined]
            go_through(dataloader, _epoch(trainer) - _last_reload(trainer))
            self._seed([dataloader], _epoch(trainer), first=self._taken)
            self._taken += 1
            return process(dataloader)

        trainer.strategy.process_dataloader = with_own_generator  # type: ignore[method-assign]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._lend()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # The sanity check may make the first weights of lazy layers. Lightning takes its random numbers back afterwards.
        if trainer.sanity_checking:
            set_rng_states(self._trial_states)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        set_rng_states(self._trial_states)
        if trainer.current_epoch > 0:
            # Going on, Lightning has asked for the loaders late.
            loop = trainer.fit_loop
            loop._last_train_dl_reload_epoch = loop.epoch_loop.val_loop._last_val_dl_reload_epoch = _last_reload(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        train = _flat(trainer.train_dataloader)
        val = _flat(trainer.val_dataloaders) if trainer.val_dataloaders is not None else []
        self._seed(train, trainer.current_epoch, again=_makes_iterators(trainer))
        # The sanity check has drawn from them, but not in a fit that goes on.
        self._seed(val, trainer.current_epoch, again=True)
        if _reload_interval(trainer):
            self._give_back(but=[*train, *val])
        seed_rngs(trial_epoch_seed(self.trial_seed, trainer.current_epoch))

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._seed_step(trainer, batch_idx)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._seed_step(trainer, -1 - batch_idx)

    def _seed_step(self, trainer: Trainer, batch: int) -> None:
        # Loading has seeded the processor's generators; those of devices stay the trial's for the whole epoch.
        seed_cpu_rngs(batch_seed(trial_epoch_seed(self.trial_seed, trainer.current_epoch), batch))

    def _lend(self) -> None:
        self._trial_states = rng_states()
        set_rng_states(seeded_states(data_seed(self.study_seed)))

    def _asked(self, trainer: Trainer, dataloader: Callable[[], Any]) -> Any:
        """The loaders of a data hook, asked in a fit that goes on as it was asked before, in the same epoch."""
        self._taken = 0
        epoch, progress = _last_reload(trainer), trainer.fit_loop.epoch_progress.current
        current, progress.completed = progress.completed, epoch
        try:
            with isolated_rngs():
                seed_rngs(loaders_seed(self.study_seed, epoch))
                return dataloader()
        finally:
            progress.completed = current

    def _seed(self, loaders: list[Any], epoch: int, again: bool = False, first: int = 0) -> None:
        for number, loader in enumerate(loaders, start=first):
            if isinstance(loader, DataLoader):
                seed_loading(loader, loading_seed(self.study_seed, epoch, self._rank, number))
            for owner in _owners(loader):
                self._seed_owner(owner, epoch, again)

    def _seed_owner(self, owner: Any, epoch: int, again: bool) -> None:
        if id(owner) not in self._lent:
            self._lent[id(owner)] = _Lent(owner, owner.generator)
            owner.generator = torch.Generator()
        lent = self._lent[id(owner)]
        # An iterator that exists already, and stays, has drawn the beginning of its epoch.
        if again or lent.epoch != epoch:
            owner.generator.manual_seed(epoch_seed(self.study_seed, epoch))
            lent.epoch = epoch

    def _give_back(self, but: Iterable[Any] = ()) -> None:
        kept = {id(owner) for loader in but for owner in _owners(loader)}
        for key in self._lent.keys() - kept:
            lent = self._lent.pop(key)
            end_seeding(lent.owner)
            lent.owner.generator = lent.own


@dataclass
class _Lent:
    """A loader or sampler that has a generator of ours for the time of the fit, and the one that it had."""

    owner: Any
    own: torch.Generator | None
    epoch: int | None = None


def _last_reload(trainer: Trainer) -> int:
    """The epoch in which an uninterrupted fit has asked for the loaders that it uses now."""
    interval = _reload_interval(trainer)
    return _epoch(trainer) // interval * interval if interval else 0


def _reload_interval(trainer: Trainer) -> int:
    return trainer.reload_dataloaders_every_n_epochs  # type: ignore[attr-defined, no-any-return]


def _epoch(trainer: Trainer) -> int:
    # Of a fit that goes on, current_epoch is right only later, and where a module asks for its number of steps as it makes its
    # optimizer, the loaders are there before the loop's progress is.
    loaded = trainer._checkpoint_connector._loaded_checkpoint
    if "loops" in loaded:
        return loaded["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]  # type: ignore[no-any-return]
    return trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined, no-any-return]


def _makes_iterators(trainer: Trainer) -> bool:
    """Whether Lightning will make new iterators for the epoch that begins. For the first it has them from its setup."""
    loop = trainer.fit_loop
    # Before Lightning 2.6 a fit that went on made them twice.
    return trainer.current_epoch > 0 and not getattr(loop, "is_resuming", False) and not loop.epoch_loop.restarting


def _flat(loaders: Any) -> list[Any]:
    found: list[Any] = CombinedLoader(loaders).flattened
    return found


def _owners(loader: Any) -> Iterator[Any]:
    """A loader and the samplers in it, as far as they draw from a generator."""
    return (each for each in (loader, *samplers_in(loader)) if hasattr(each, "generator"))
