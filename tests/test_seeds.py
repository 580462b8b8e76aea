"""Seeds: a function of the study's seed and of what they are for, and the same for ever."""

from __future__ import annotations

from lightning_hp.seeds import batch_seed, data_seed, epoch_seed, hparams_stream, loaders_seed, loading_seed, trial_seed


def test_every_purpose_number_and_study_has_its_own_seed():
    seeds = [trial_seed(study, number) for study in range(10) for number in range(50)]
    seeds += [epoch_seed(study, epoch) for study in range(10) for epoch in range(50)]
    seeds += [loaders_seed(study, epoch) for study in range(10) for epoch in range(50)]
    seeds += [loading_seed(study, epoch, rank, 0) for study in range(5) for epoch in range(50) for rank in range(2)]
    seeds += [data_seed(study) for study in range(10)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_every_batch_of_an_epoch_has_its_own_seed():
    seeds = [batch_seed(epoch_seed(0, 3), batch) for batch in range(-1000, 1000)]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_a_trials_stream_depends_on_its_study_and_number_alone():
    def draws(seed, number):
        return tuple(hparams_stream(seed, number).random(3))

    assert draws(0, 7) == draws(0, 7)
    assert len({draws(seed, number) for seed in range(5) for number in range(20)}) == 100


def test_seeds_are_those_of_the_first_version():
    # A study from an earlier version goes on with the same trials only as long as these stand.
    assert (trial_seed(0, 0), trial_seed(1, 5), data_seed(0), epoch_seed(0, 3)) == (
        3953331965,
        3954553534,
        3241444873,
        3440165917,
    )
    assert round(float(hparams_stream(0, 0).random()), 6) == 0.565132
