"""Checkpoint files: what goes in comes out, nothing is half-written, and every bad file gets a sentence."""

from __future__ import annotations

import os
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from diffedu._tensor import seeded
from diffedu.nn import MLP
from diffedu.train import (
    TrainConfig,
    TrainState,
    checkpoint,
    load_state,
    load_tensors,
    load_weights,
    save_state,
    save_tensors,
)
from diffedu.train.checkpoint import fingerprint


def some_tensors():
    g = seeded(0)
    return {
        "a": torch.randn(3, 4, generator=g),
        "b": torch.randn(2, generator=g, dtype=torch.float64),
        "half": torch.randn(5, generator=g).half(),
        "whole": torch.arange(6).reshape(2, 3),
        "bytes": torch.arange(7, dtype=torch.uint8),
        "scalar": torch.tensor(2.5),
    }


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "run.safetensors"
    save_tensors(path, some_tensors(), {"kind": "test", "nested": {"list": [1, 2.5, None, "é"]}})
    return path


def test_round_trip(file):
    tensors, description = load_tensors(file)
    assert tensors.keys() == some_tensors().keys()
    for name, value in some_tensors().items():
        assert tensors[name].dtype == value.dtype
        assert torch.equal(tensors[name], value)
    assert description == {"kind": "test", "nested": {"list": [1, 2.5, None, "é"]}}


def test_views_shared_and_transposed_tensors_survive(tmp_path):
    x = torch.arange(12.0).reshape(3, 4).requires_grad_()
    images = torch.randn(2, 3, 4, 4, generator=seeded(1)).contiguous(memory_format=torch.channels_last)
    wanted = {"x": x, "same": x, "transposed": x.T, "row": x[1], "images": images}
    save_tensors(tmp_path / "f", wanted, {})
    found, _ = load_tensors(tmp_path / "f")
    assert all(torch.equal(found[k], v) for k, v in wanted.items())


def test_the_file_is_plain_safetensors_and_needs_no_diffedu(file):
    from safetensors import safe_open

    with safe_open(file, framework="pt") as f:
        assert set(f.keys()) == set(some_tensors())
        assert "nested" in f.metadata()["diffedu"]


def test_folders_are_made(tmp_path):
    save_tensors(tmp_path / "new" / "folder" / "f.safetensors", some_tensors(), {})
    assert os.listdir(tmp_path / "new" / "folder") == ["f.safetensors"]


# --- atomic


def test_a_failure_in_the_middle_of_writing_leaves_the_old_file(file, monkeypatch):
    old = file.read_bytes()

    def break_off(tensors, path, metadata):
        with open(path, "wb") as f:
            f.write(b"half a file")
        raise OSError("no space left on device")

    monkeypatch.setattr(checkpoint, "save_file", break_off)
    with pytest.raises(OSError, match="no space left"):
        save_tensors(file, {"a": torch.zeros(1)}, {})
    assert file.read_bytes() == old
    assert os.listdir(file.parent) == [file.name]  # no rubbish either


def test_a_failure_just_before_the_swap_leaves_the_old_file(file, monkeypatch):
    old = file.read_bytes()

    def fail(*names):
        raise PermissionError("swap refused")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(PermissionError, match="swap refused"):
        save_tensors(file, {"a": torch.zeros(1)}, {})
    assert file.read_bytes() == old
    assert os.listdir(file.parent) == [file.name]


def test_the_real_name_never_holds_a_partial_file(file, monkeypatch):
    """While the new file is being written, the old one is still readable under its name."""
    seen = []

    def spy(tensors, path, metadata):
        save_file(tensors, path, metadata=metadata)
        seen.append((path != str(file), load_tensors(file)[1]["kind"]))

    monkeypatch.setattr(checkpoint, "save_file", spy)
    save_tensors(file, some_tensors(), {"kind": "newer"})
    assert seen == [(True, "test")]
    assert load_tensors(file)[1]["kind"] == "newer"


def test_a_description_that_json_cannot_hold_leaves_the_old_file(file):
    old = file.read_bytes()
    with pytest.raises(TypeError, match="JSON"):
        save_tensors(file, {"a": torch.zeros(1)}, {"net": nn.Linear(1, 1)})
    assert file.read_bytes() == old
    assert os.listdir(file.parent) == [file.name]


# --- bad files


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_a_file_cut_short(file, share):
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        ValueError, match=r"run.safetensors is not a readable checkpoint \(corrupt, cut short or foreign\)"
    ):
        load_tensors(file)


def test_a_corrupt_header(file):
    whole = bytearray(file.read_bytes())
    whole[0:8] = b"\xff" * 8
    file.write_bytes(whole)
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_tensors(file)


def test_foreign_files(tmp_path):
    pickled, text, other = tmp_path / "p.pt", tmp_path / "t.txt", tmp_path / "o.safetensors"
    pickled.write_bytes(pickle.dumps({"a": 1}))
    text.write_text("epoch,loss\n" * 50)
    save_file({"a": torch.zeros(2)}, other)
    for file in (pickled, text):
        with pytest.raises(ValueError, match=rf"{file.name} is not a readable checkpoint"):
            load_tensors(file)
    with pytest.raises(ValueError, match=r"o\.safetensors is a safetensors file, but not one written by diffedu"):
        load_tensors(other)


def test_a_header_of_ours_that_is_no_json(tmp_path):
    save_file({"a": torch.zeros(2)}, tmp_path / "f", metadata={"diffedu": "{"})
    with pytest.raises(ValueError, match="not a readable checkpoint"):
        load_tensors(tmp_path / "f")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*lost\.safetensors"):
        load_tensors(tmp_path / "lost.safetensors")


# --- weights of another network


def test_load_weights_copies_and_keeps_the_network_s_dtype():
    torch.manual_seed(0)
    source, goal = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(goal, {k: v.half() for k, v in source.state_dict().items()})
    assert goal.weight.dtype == torch.float32
    torch.testing.assert_close(goal.weight, source.weight, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda w: w.pop("bias"), ["another network", "1 missing", "bias", "0 unknown"]),
        (lambda w: w.update(extra=torch.zeros(1)), ["another network", "0 missing", "1 unknown", "extra"]),
        (
            lambda w: w.update(weight=torch.zeros(3, 2)),
            ["weight has shape (3, 2) in the file, (2, 3) in the network"],
        ),
    ],
)
def test_weights_of_another_network_are_refused_untouched(change, words):
    net = nn.Linear(3, 2)
    weights = {k: v + 1 for k, v in net.state_dict().items()}
    change(weights)
    before = net.weight.clone()
    with pytest.raises(ValueError, match="network") as caught:
        load_weights(net, weights)
    for word in words:
        assert word in str(caught.value)
    assert torch.equal(net.weight, before)


def test_a_model_is_not_a_state_and_a_state_is_of_one_network(tmp_path):
    save_tensors(tmp_path / "model", {"a": torch.zeros(1)}, {"recipe": "x"})
    state = TrainState(MLP(2, t_max=1.0, width=8), TrainConfig(steps=3))
    with pytest.raises(ValueError, match=r"model holds no training state \(its kind is None"):
        load_state(tmp_path / "model", state)
    save_state(tmp_path / "state", state, {"minutes": 1.5})
    assert load_state(tmp_path / "state", state) == {"minutes": 1.5}
    with pytest.raises(ValueError, match=r"another network|has shape"):
        load_state(tmp_path / "state", TrainState(MLP(2, t_max=1.0, width=16), TrainConfig(steps=3)))


# --- the fingerprint that other tests rely on


def test_a_state_goes_on_only_with_its_own_config(tmp_path):
    path = tmp_path / "run.state"
    save_state(path, TrainState(nn.Linear(2, 2), TrainConfig(steps=10)))
    other = TrainState(nn.Linear(2, 2), TrainConfig(steps=10, lr=0.5, seed=3))
    before = fingerprint(other.net.state_dict())
    with pytest.raises(
        ValueError, match=r"run\.state .* another config \(lr was 0\.001, now 0\.5; seed was 0, now 3\)"
    ):
        load_state(path, other)
    assert fingerprint(other.net.state_dict()) == before
    load_state(path, TrainState(nn.Linear(2, 2), TrainConfig(steps=10)))


def test_fingerprint_sees_every_bit():
    a = some_tensors()
    assert fingerprint(a) == fingerprint({k: v.clone() for k, v in reversed(a.items())})
    for name in ("a", "b", "half", "whole", "bytes", "scalar"):
        changed = {k: v.clone() for k, v in a.items()}
        flat = changed[name].reshape(-1).view(torch.uint8)
        flat[0] ^= 1
        assert fingerprint(changed) != fingerprint(a)
    renamed = dict(a)
    renamed["c"] = renamed.pop("b")
    assert fingerprint(renamed) != fingerprint(a)
