"""The reflow explorer: its numbers against other routes, its picture, and its controls."""

from __future__ import annotations

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import RectifiedFlow, velocity
from diffedu.data import moons, rings
from diffedu.show.widgets.reflow import COLORS, MOST, ReflowExplorer


@pytest.fixture(scope="module")
def explorer():
    return ReflowExplorer(rings(120, generator=seeded(0)), moons(120, generator=seeded(1)), batch=40)


def test_every_control_changes_the_picture_and_reset_restores_it(explorer):
    first = explorer.picture.png
    for control, other in ((explorer.coupling, "reflowed once"), (explorer.steps, 5), (explorer.t, 0.5)):
        control.value = other
        assert explorer.picture.png != first, control
        explorer.picture.reset()
        assert explorer.picture.png == first, control
    assert explorer.picture.message.value == ""


def test_reflow_straightens_and_never_costs_more(explorer):
    found = {name: explorer.numbers(name) for name in COLORS}
    for before, after in (("independent", "reflowed once"), ("reflowed once", "reflowed twice")):
        assert found[after]["bending"] < found[before]["bending"]
        assert found[after]["cost"] < 1.02 * found[before]["cost"]  # the jitter is drawn anew
    assert found["minibatch OT"]["bending"] < 0.2 * found["independent"]["bending"]
    assert all(one["optimal"] <= one["cost"] + 1e-6 for one in found.values())


def test_one_step_goes_along_the_first_arrow(explorer):
    start = explorer._paths["independent"][0]
    arrow = velocity(explorer._flows["independent"], start, torch.tensor(1.0))
    ends = explorer._euler("independent", 1)
    torch.testing.assert_close(ends[-1], start - arrow)
    error = (start - arrow - explorer._paths["independent"][-1]).square().sum(1).mean().sqrt()
    assert explorer.errors("independent")[0] == pytest.approx(error.item(), rel=1e-5)


def test_few_steps_suffice_only_after_a_reflow(explorer):
    for name in COLORS:
        assert len(explorer.errors(name)) == MOST
        assert explorer.errors(name)[-1] < explorer.errors(name)[0]
    assert explorer.errors("reflowed once")[0] < 0.2 * explorer.errors("independent")[0]


def test_a_path_is_cut_at_its_time():
    states = torch.tensor([0.0, 4.0, 6.0]).reshape(3, 1, 1)
    assert ReflowExplorer._until(states, 1.0)[-1].item() == 0.0
    assert ReflowExplorer._until(states, 0.75)[-1].item() == 2.0
    assert ReflowExplorer._until(states, 0.5)[-1].item() == 4.0
    assert ReflowExplorer._until(states, 0.25).flatten().tolist() == [0.0, 4.0, 5.0]
    assert ReflowExplorer._until(states, 0.0)[-1].item() == 6.0


def test_it_flows_on_the_straight_path(explorer):
    assert all(isinstance(flow.path, RectifiedFlow) for flow in explorer._flows.values())


def test_points_outside_the_plane_are_refused():
    with pytest.raises(ValueError, match=r"got shape \(5, 3\)"):
        ReflowExplorer(torch.zeros(5, 3), torch.zeros(5, 3))
