"""Signatures: what a callable takes and requires, told before it is called."""

from __future__ import annotations

import functools
import sys

import pytest

from lightning_hp import ConfigError
from lightning_hp.signature import arguments, check_call


def plain(lr, *, width=3):
    pass


def open_ended(lr, **rest):
    pass


class Made:
    def __init__(self, lr, width=3, *rest):
        pass

    def method(self, lr):
        pass


class Inherited(Made):
    pass


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (plain, ({"lr", "width"}, {"lr"}, False)),
        (open_ended, ({"lr"}, {"lr"}, True)),
        (Made, ({"lr", "width"}, {"lr"}, False)),
        (Inherited, ({"lr", "width"}, {"lr"}, False)),
        (Made(1).method, ({"lr"}, {"lr"}, False)),
        (functools.partial(plain, lr=1), ({"lr", "width"}, set(), False)),
        (functools.partial(plain, 1), ({"width"}, set(), False)),
        (dict, (set(), set(), True)),
    ],
)
def test_the_arguments_of_any_callable_are_found(function, expected):
    assert arguments(function) == expected


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated where they stand")
def test_annotations_that_only_type_checkers_can_evaluate_do_no_harm():
    names = {}
    exec(compile("def make(lr: Rate, width: int = 3) -> Net: ...", "script.py", "exec", dont_inherit=True), names)
    assert arguments(names["make"]) == ({"lr", "width"}, {"lr"}, False)


@pytest.mark.parametrize(
    ("function", "names", "told"),
    [
        (plain, {"lr": "lr", "widht": "model.widht"}, "space['model.widht']: plain has no argument 'widht'"),
        (plain, {"lr": "lr", "widht": "widht"}, "(did you mean 'width'?); it takes lr, width"),
        (plain, {"width": "width"}, "plain requires 'lr', which the space does not give: add a scale for it, or fix it"),
        (lambda: None, {"lr": "lr"}, "it takes no arguments"),
        (
            functools.partial(plain, widht=4),
            {"lr": "lr"},
            "partial(plain, widht=...): plain has no argument 'widht' (did you mean",
        ),
    ],
)
def test_a_call_that_would_fail_is_told(function, names, told):
    with pytest.raises(ConfigError) as error:
        check_call(function, names)
    assert told in str(error.value)


def test_a_name_that_another_callable_takes_is_pointed_to():
    with pytest.raises(ConfigError, match=r"no argument 'batch_size' \(did you mean 'data.batch_size'\?\)"):
        check_call(plain, {"batch_size": "batch_size"}, elsewhere=["trainer.max_epochs", "data.batch_size"])


def test_a_call_that_would_work_passes():
    check_call(plain, {"lr": "lr"})
    check_call(open_ended, {"lr": "lr", "anything": "anything"})
