"""k steps, saved, loaded, n steps = k + n steps, to the bit; also when the process is really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import EPS, DenoisingLoss, RectifiedFlow
from diffedu.nn import UNet, UNetConfig
from diffedu.train import TrainConfig, TrainState, load_state, load_tensors, save_state, train
from diffedu.train.checkpoint import fingerprint

ROOT = Path(__file__).resolve().parents[2]
SMALL = UNetConfig(size=8, width=16, low_width=32, classes=2, t_max=1.0, dropout=0.3)
CONFIG = TrainConfig(steps=11, batch=6, lr=3e-3, warmup=3, weight_decay=0.1, ema=0.9, seed=5)
LOSS = DenoisingLoss(RectifiedFlow(), EPS)


def loss(net, batch, generator):
    images, labels = batch
    return LOSS(net.given(labels), images, generator)


def data():
    return torch.randn(16, 1, 8, 8, generator=seeded(1)), torch.arange(16) % 2


def fresh(seed=0):
    torch.manual_seed(seed)
    return TrainState(UNet(SMALL).to(memory_format=torch.channels_last), CONFIG)


def everything(state):
    """One digest over weights, average, optimiser, both generators and the counters."""
    tensors = {f"net.{k}": v for k, v in state.net.state_dict().items()}
    tensors |= {f"ema.{k}": v for k, v in state.ema.net.state_dict().items()}
    for i, slots in state.optimiser.state_dict()["state"].items():
        tensors |= {f"opt.{i}.{k}": v for k, v in slots.items()}
    tensors["rng"], tensors["global"] = state.generator.get_state(), torch.get_rng_state()
    tensors["counters"] = torch.tensor([state.step, state.ema.updates])
    return fingerprint(tensors)


def uninterrupted():
    state = fresh()
    losses = [report.loss for report in train(state, loss, data())]
    return losses, everything(state)


@pytest.mark.parametrize("k", [1, 4, 10])  # 16 examples in batches of 6: 1 and 4 lie inside an epoch
def test_resumed_training_is_bitwise_the_uninterrupted_one(k, tmp_path):
    losses, wanted = uninterrupted()
    first = fresh()
    before = [report.loss for report in train(first, loss, data(), until=k)]
    save_state(tmp_path / "state", first, {"note": k})
    saved = everything(first)

    torch.manual_seed(999)
    again = fresh(seed=77)  # other weights, and other global random numbers
    assert everything(again) != saved
    assert load_state(tmp_path / "state", again) == {"note": k}
    assert everything(again) == saved
    after = [report.loss for report in train(again, loss, data())]
    assert before + after == losses
    assert everything(again) == wanted


def test_saving_changes_nothing(tmp_path):
    _, wanted = uninterrupted()
    state = fresh()
    for _ in train(state, loss, data()):
        save_state(tmp_path / "state", state)
    assert everything(state) == wanted


@pytest.mark.parametrize("left_out", ["torch.set_rng_state", "generator", "optimiser", "ema", "step"])
def test_each_part_of_the_state_is_needed(left_out, tmp_path, monkeypatch):
    """The test above can see what is lost: without any one part the run ends elsewhere."""
    _, wanted = uninterrupted()
    first = fresh()
    list(train(first, loss, data(), until=4))
    save_state(tmp_path / "state", first)
    again = fresh(seed=77)
    unsaved = fresh(seed=77)
    torch.manual_seed(999)
    if left_out == "torch.set_rng_state":
        monkeypatch.setattr(torch, "set_rng_state", lambda state: None)
    load_state(tmp_path / "state", again)
    if left_out == "generator":
        again.generator = unsaved.generator
    elif left_out == "optimiser":
        again.optimiser.state.clear()
    elif left_out == "ema":
        again.ema.net = unsaved.ema.net
    elif left_out == "step":
        again.step = 0
    list(train(again, loss, data()))
    assert everything(again) != wanted


# --- a real kill of the real recipe

SCRIPT = """
import sys
import time
from pathlib import Path
from diffedu.nn import UNetConfig
from diffedu.recipes import _run, digits_ddpm
from diffedu.train import TrainConfig, save_state

folder, hold, steps = Path(sys.argv[1]), "hold" in sys.argv, 30
digits_ddpm.evaluate = lambda *arguments, **named: {}  # nothing is measured here: this is about the weights

def tell(path, state, extra):  # says when a state is on disk, so that the test knows when to kill
    save_state(path, state, extra)
    print("saved", state.step, flush=True)
    if hold and state.step >= 20:
        time.sleep(120)  # on a busy machine the kill may come late, but never after the end

export = _run.export
_run.save_state = tell
_run.export = lambda path, weights, about, half: export(path, weights, about, half=False)  # every bit
digits_ddpm.run(
    folder,
    config=TrainConfig(steps=steps, batch=8, warmup=4, ema=0.9),
    net=UNetConfig(width=16, low_width=32, t_max=1000.0, dropout=0.2),
    save_every=4,
)
print("done", flush=True)
"""


def start(folder, *more):
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=variables,
    )


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_the_recipe_survives_sigkill_bit_for_bit(tmp_path):
    whole = start(tmp_path / "whole")

    killed = start(tmp_path / "killed", "hold")
    for line in killed.stdout:
        if line.split() == ["saved", "12"]:
            killed.send_signal(signal.SIGKILL)  # somewhere in the steps after
            break
    rest = killed.communicate()[0]
    assert killed.returncode == -signal.SIGKILL
    assert "done" not in rest
    assert (tmp_path / "killed" / "digits-ddpm.state").exists()
    assert not (tmp_path / "killed" / "digits-ddpm.safetensors").exists()
    last = load_tensors(tmp_path / "killed" / "digits-ddpm.state")[1]["step"]
    assert 12 <= last <= 20

    resumed = start(tmp_path / "killed")
    lines = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, lines[1]
    assert f"saved {last + 4}\n" in lines[0]
    assert "saved 4\n" not in lines[0]  # it went on; it did not begin again

    lines = whole.communicate(timeout=120)
    assert whole.returncode == 0, lines[1]
    assert "saved 4\n" in lines[0]
    weights = [load_tensors(tmp_path / name / "digits-ddpm.safetensors")[0] for name in ("whole", "killed")]
    assert len(weights[0]) > 50
    assert fingerprint(weights[0]) == fingerprint(weights[1])
    assert not (tmp_path / "killed" / "digits-ddpm.state").exists()
