"""A step may see of the Trainer what is the same for all trials, such as which strategy it has."""

from __future__ import annotations

from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from tests.fit.fused.digits import Classifier, assert_the_same_alone, recipe_of, refused


class AskingWhichStrategy(Classifier):
    """Synchronizes what it logs only where there are several processes."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        strategy = self.trainer.strategy
        self.log("synchronized", float(isinstance(strategy, DDPStrategy)), sync_dist=isinstance(strategy, DDPStrategy))
        self.log("alone", float(isinstance(strategy, SingleDeviceStrategy) and strategy.root_device == self.device))


def test_which_strategy_there_is(tmp_path):
    assert_the_same_alone(AskingWhichStrategy, tmp_path)


class AskingForTheModel(Classifier):
    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("lr", self.trainer.strategy.model.lr)


def test_what_the_strategy_has_of_one_trial_keeps_them_apart(tmp_path):
    assert refused(recipe_of(AskingForTheModel, tmp_path)).reason == "the step reads trainer.strategy.model"
