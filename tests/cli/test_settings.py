"""Values in configs and flags read as people mean them."""

from __future__ import annotations

import math

import pytest

from lightning_hp import ConfigError
from lightning_hp.cli.settings import parse_value, read_config


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2.5e-3", -2.5e-3),
        ("1.", 1.0),
        (".5", 0.5),
        ("12", 12),
        ("-3", -3),
        ("012", "012"),
        ("1:30", "1:30"),
        ("00:01:30:00", "00:01:30:00"),
        ("true", True),
        ("null", None),
        ("relu", "relu"),
        ("[1, a]", [1, "a"]),
        ("{lr: 3}", {"lr": 3}),
        ("'1e-4'", "1e-4"),
        (".inf", math.inf),
    ],
)
def test_a_flags_text_becomes_a_value(text, value):
    parsed = parse_value(text)
    assert parsed == value
    assert type(parsed) is type(value)


def test_a_flag_that_is_no_yaml_is_refused():
    with pytest.raises(ConfigError, match=r"'\{unclosed' is not valid YAML: expected ',' or '}'"):
        parse_value("{unclosed")


def test_a_key_that_stands_twice_is_refused_at_any_depth(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("search:\n  space:\n    lr: 1\n    lr: 2\n")
    with pytest.raises(ConfigError, match="the key 'lr' stands twice in line 4"):
        read_config(path)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(ConfigError, match="is not a text file"):
        read_config(path)
