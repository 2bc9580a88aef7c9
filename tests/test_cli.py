"""The command line: what it writes, and that wrong use is one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffedu.cli import main
from diffedu.recipes import RECIPES


def test_list_names_every_model(capsys: pytest.CaptureFixture[str]):
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RECIPES)
    tables = {"digits-minutes", "digits-objectives", "digits-scaling", "emoji-studies"}
    for line in lines:
        assert (" figures only " if line.split()[0] in tables else " MB ") in line


def test_sample_writes_a_sheet_of_digits(tmp_path: Path):
    out = tmp_path / "new" / "grid.png"
    assert main(["sample", "digits-ddpm", "--label", "7", "--n", "4", "--steps", "3", "--out", str(out)]) == 0
    sheet = np.asarray(Image.open(out))
    assert sheet.shape == (62, 62, 3)  # two by two digits of 28 pixels, three gaps of 2
    assert sheet[2:30, 2:30].min() < 30
    assert list(out.parent.iterdir()) == [out]  # no temporary file is left


def test_the_seed_decides(tmp_path: Path):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        arguments = ["--n", "1", "--steps", "2", "--seed", seed, "--out", str(tmp_path / f"{name}.png")]
        assert main(["sample", "digits-ddpm", *arguments]) == 0
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["sample", "digits-dpm"], "unknown recipe 'digits-dpm'; did you mean 'digits-ddpm'?"),
        (["sample", "digits-classifier"], "digits-classifier is not a generative model"),
        (["sample", "emoji-latent"], "emoji-latent takes words and an autoencoder"),
        (["sample", "digits-ddpm", "--label", "10"], "--label must lie in 0 ... 9, got 10"),
        (["sample", "digits-ddpm", "--out", "grid.jpg"], "--out must end in .png, got 'grid.jpg'"),
        (
            ["sample", "digits-ddpm", "--device", "banana"],
            "--device must be a device such as cpu or cuda, got 'banana'",
        ),
        (["sample", "digits-ddpm", "--weights", "nowhere"], "no checkpoint at nowhere"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert main([*arguments, "--n", "1", "--steps", "1"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"diffedu: {sentence}")
    assert captured.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
