"""The README does what it says: its Python blocks and its commands run, in order, as they stand."""

from __future__ import annotations

import re
import shlex
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from lightning_hp import RayCluster, Space
from lightning_hp.cli import main
from lightning_hp.cli.arguments import parse_arguments

REPOSITORY = Path(__file__).parent.parent
README = (REPOSITORY / "README.md").read_text()


def blocks(language):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return [text for named, text in found if named == language]


def commands():
    return [line for block in blocks("") for line in block.splitlines() if line.startswith("lightning-hp ")]


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A folder with what the README's lines need, to be written into."""
    for folder in ("configs", "examples"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_its_python_runs(clone):
    assert len(blocks("python")) == 4
    names = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["study"].best.value > 0.9
    assert len(Space(names["space"])) == 6
    assert type(names["model"]).__name__ == "LitDigits"
    assert (clone / "runs/digits/study.db").exists()
    assert (clone / "lr.csv").read_text().startswith("step,")


@pytest.mark.slow
def test_its_commands_run(clone, capsys):
    # tests/executors/ray has clusters.
    lines = [line for line in commands() if "--executor ray" not in line]
    assert {line.split()[1] for line in lines} == {"lint", "search", "show", "report", "best", "rerun", "babysit"}
    for line in lines:
        assert main(shlex.split(line, comments=True)[1:]) == 0, line
    out = capsys.readouterr().out
    assert "6 of 6 trials complete" in out
    assert "the same to the last bit" in out
    assert (clone / "runs/cli/report/index.html").is_file()


def test_its_config_is_the_digits_config_with_parts_left_out():
    shown, _ = (yaml.safe_load(block) for block in blocks("yaml"))
    real = yaml.safe_load((REPOSITORY / "configs/digits.yaml").read_text())
    space = shown["search"].pop("space")
    assert space.items() <= real["search"].pop("space").items()
    assert shown == real


def test_its_executor_is_one_that_a_config_takes(clone):
    _, shown = (yaml.safe_load(block) for block in blocks("yaml"))
    assert list(shown) == ["search"]
    assert shown["search"]["executor"].keys() == {"name", *(field.name for field in fields(RayCluster))}
    # Of S3 there would have to be a package.
    shown["search"]["executor"]["storage"] = "file:///bucket/path"
    Path("executor.yaml").write_text(yaml.safe_dump(shown))
    assert main(["lint", "configs/digits.yaml", "executor.yaml"]) == 0
    (line,) = [line for line in commands() if "--executor ray" in line]
    assert parse_arguments(shlex.split(line)[1:])["ray_address"] == "auto"


def test_its_pictures_and_links_exist():
    headings = {
        "#" + re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in re.findall(r"^#+ (.*)$", README, re.MULTILINE)
    }
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert len(targets) >= 4
    for target in targets:
        assert target in headings or target.startswith("https://docs.ray.io") or (REPOSITORY / target).is_file(), target
