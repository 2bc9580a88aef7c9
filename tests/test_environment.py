"""pyproject.toml, constraints.txt and environment.yml tell one story (checked without conda)."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINS = [line for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
# What Colab had installed when the book opened; the first cell of a chapter must not reinstall it.
COLAB = {"torch": "2.5.1", "numpy": "1.26.4", "matplotlib": "3.8.0", "scipy": "1.13.1", "ipywidgets": "7.7.1"}


def requirements(*extras: str) -> list[Requirement]:
    texts = list(PROJECT["dependencies"])
    for extra in extras:
        texts += PROJECT["optional-dependencies"][extra]
    return [Requirement(text) for text in texts]


def test_environment_yml_is_a_thin_wrapper_of_pyproject() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [d for d in environment["dependencies"] if isinstance(d, str)]
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    assert environment["name"] == PROJECT["name"]
    assert environment["channels"] == ["conda-forge"]
    assert {d.split("=")[0] for d in conda} == {"python", "pip"}, "all else comes from pyproject.toml"
    (python,) = [d.removeprefix("python=") for d in conda if d.startswith("python=")]
    assert PROJECT["requires-python"] == f">={python}"
    (constraints,) = [d.removeprefix("-c ") for d in pip if d.startswith("-c ")]
    assert (ROOT / constraints).exists()
    (package,) = [d.removeprefix("-e ") for d in pip if d.startswith("-e ")]
    assert len(pip) == 2
    wanted = set(re.fullmatch(r"\.\[(.*)\]", package)[1].split(","))
    assert wanted <= set(PROJECT["optional-dependencies"])
    assert (ROOT / "run.py").read_text(encoding="utf-8").count(f'"-e", "{package}"') == 1, "make installs the same"


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    for line in PINS:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line), f"not an exact public version: {line!r}"


@pytest.mark.parametrize("requirement", requirements("lab", "test"), ids=lambda r: r.name)
def test_pinned_version_lies_in_pyprojects_range(requirement: Requirement) -> None:
    pins = {canonicalize_name(name): version for name, version in (line.split("==") for line in PINS)}
    assert canonicalize_name(requirement.name) in pins, f"constraints.txt does not pin {requirement.name}"
    assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", COLAB)
def test_runtime_ranges_take_what_colab_has(name: str) -> None:
    (requirement,) = [r for r in requirements() if r.name == name]
    assert requirement.specifier.contains(COLAB[name])


def test_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == PROJECT["version"]
    assert f"## {PROJECT['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_all_is_the_other_extras_that_readers_need() -> None:
    assert PROJECT["optional-dependencies"]["all"] == ["diffedu[lab,test]"]
