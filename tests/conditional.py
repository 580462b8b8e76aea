"""What tests of conditional hyperparameters share: a space that has every kind of them, others drawn at random, and a judge."""

from __future__ import annotations

from hypothesis import strategies as st

from lightning_hp import Choice, Int, Linear, Log, LogInt, ReverseLog, Space

SCALES = {
    "optimizer": Choice("sgd", "adam"),
    # Declared before what it depends on.
    "nesterov": Choice(True, False).when(momentum={"at_least": 0.9}),
    "momentum": ReverseLog(0.5, 0.99).when(optimizer="sgd"),
    "beta1": ReverseLog(0.8, 0.99).when(optimizer="adam"),
    "lr": Log(1e-4, 1.0),
    "layers": Int(0, 3),
    "units": Int(16, 128).per("layers"),
    "dropout": Linear(0.0, 0.5).when(layers=range(2, 5)),
}
SPACE = Space(SCALES)


def narrow(hparams):
    """A constraint that about half of the space meets."""
    return sum(hparams["units"]) < 100


def right(hparams):
    """Whether exactly what exists in `SPACE` is there, each value on its scale."""
    names = {"optimizer", "lr", "layers", "units"}
    names |= {"momentum"} if hparams["optimizer"] == "sgd" else {"beta1"}
    names |= {"nesterov"} if hparams.get("momentum", 0.0) >= 0.9 else set()
    names |= {"dropout"} if hparams["layers"] >= 2 else set()
    units, bounds = hparams["units"], {"momentum": (0.5, 0.99), "beta1": (0.8, 0.99), "dropout": (0.0, 0.5), "lr": (1e-4, 1.0)}
    inside = all(low <= hparams[name] <= high for name, (low, high) in bounds.items() if name in hparams)
    right_units = type(units) is list and len(units) == hparams["layers"] and all(16 <= each <= 128 for each in units)
    return hparams.keys() == names and inside and right_units


@st.composite
def spaces(draw):
    """Spaces where each hyperparameter may depend on any before it, in any order of declaration."""
    scales, single = {}, {}
    for index in range(draw(st.integers(2, 6))):
        name, scale = f"h{index}", draw(_scales)
        declared = scale
        for parent in draw(st.sets(st.sampled_from(sorted(single)), max_size=2)) if single else ():
            declared = declared.when({parent: draw(_conditions(single[parent]))})
        counters = [each for each, its in single.items() if isinstance(its, (Int, LogInt)) and its.low >= 0 and its.high < 9]
        if counters and draw(st.booleans()):
            declared = declared.per(draw(st.sampled_from(counters)))
        else:
            single[name] = scale
        scales[name] = declared
    return {name: scales[name] for name in draw(st.permutations(list(scales)))}


_scales = st.one_of(
    st.sampled_from([Linear(-1.0, 2.0), Log(1e-3, 10.0), ReverseLog(0.5, 0.999), LogInt(1, 64)]),
    st.integers(0, 2).map(lambda low: Int(low, low + 3)),
    st.integers(1, 4).map(lambda n: Choice(*["a", True, 1, None][:n])),
)


def _conditions(scale):
    if isinstance(scale, Choice):
        return st.lists(st.sampled_from(scale.values), min_size=1, max_size=2)
    if isinstance(scale, (Int, LogInt)):
        values = st.lists(st.integers(scale.low, scale.high), min_size=1, max_size=3)
        return values | st.integers(scale.low, scale.high).map(lambda low: {"at_least": low})
    return st.floats(0.1, 0.9).map(lambda unit: {"at_most": scale.from_unit(unit)})
