"""A LightningCLI that has made its parser and runs nothing."""

from __future__ import annotations

import pytest
from lightning.pytorch.cli import LightningCLI

from lightning_hp.cli.unrun import fit_parser, sections_of, unrun


@pytest.mark.parametrize(("subcommands", "times"), [(("fit",), 1), (("fit", "test", "search"), 2)])
def test_only_the_parsers_of_subcommands_that_are_asked_for_are_given_arguments(subcommands, times):
    given = []

    class Counting(LightningCLI):
        def add_arguments_to_parser(self, parser):
            given.append(parser)

    cli = unrun(Counting, subcommands)
    assert len(given) == times
    assert sections_of(fit_parser(cli)).keys() >= {"model", "data", "trainer", "optimizer"}
    assert cli.subcommands().keys() == cli._subcommand_parsers.keys()
