"""A refusal names the line that the user may change: one of the user's own files, whoever else's code it leads to."""

from __future__ import annotations

import copy
import re

import pytest
from torchmetrics.functional import accuracy

from lightning_hp.fit.fused.errors import place_of


def raised(call):
    with pytest.raises((AttributeError, ValueError), match=r"no_such_thing|num_classes") as info:
        call()
    return place_of(info.value)


class Uncopied:
    def __deepcopy__(self, memo):
        return copy.deepcopy(memo.no_such_thing)


def test_of_a_package_that_the_users_line_calls():
    assert re.match(r"fused/test_errors.py, line \d+: assert ", raised(lambda: accuracy(None, None, task="multiclass")))


def test_of_the_standard_library():
    assert raised(lambda: copy.deepcopy([Uncopied()])).endswith("return copy.deepcopy(memo.no_such_thing)")


def test_a_package_itself_where_no_line_is_the_users():
    with pytest.raises(ValueError, match="num_classes") as info:
        accuracy(None, None, task="multiclass")
    assert "classification/accuracy.py, line " in place_of(info.value.with_traceback(info.tb.tb_next))
