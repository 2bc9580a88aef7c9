"""Pictures: what they must show, checked on the numbers and boxes that are drawn."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from diffedu.show import animation, curve_panel, curves, image_grid, image_rows, montage, panels, png, scatter_panels


def test_montage_places_every_image_on_white():
    images = torch.stack([torch.full((1, 2, 2), value) for value in (-1.0, 0.0, 1.0)])
    sheet = montage(images, columns=2, gap=1)
    assert sheet.shape == (7, 7, 3)
    assert (sheet[1:3, 1:3] == 0).all()
    assert (sheet[1:3, 4:6] == 128).all()
    assert (sheet[4:6, 1:3] == 255).all()
    assert (sheet[0] == 255).all()


def test_montage_cuts_values_outside_the_range():
    assert montage(torch.tensor([[[[5.0, -5.0]]]]), columns=1, gap=0)[0, :, 0].tolist() == [255, 0]


@pytest.mark.parametrize("shape", [(2, 2, 4, 4), (4, 4)])
def test_montage_names_the_shape(shape: tuple[int, ...]):
    with pytest.raises(ValueError, match=r"images must have shape \(N, 1 or 3, H, W\), got"):
        montage(torch.zeros(shape))


def test_names_of_close_curves_do_not_overlap():
    x = torch.linspace(0, 1, 20)
    figure, (ax,) = panels(1, 1, width=6, height=3)
    curve_panel(ax, x, {f"curve {k}": x + 0.001 * k for k in range(5)}, xlabel="time t", ylabel="value")
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 5
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            assert min(a.y1, b.y1) - max(a.y0, b.y0) <= 1.0  # pixels
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time t", "value")


def test_curves_differ_in_style_as_well_as_colour():
    figure = curves([0, 1], {"a": [0, 1], "b": [1, 0], "c": [0, 0]}, xlabel="t", ylabel="y")
    lines = figure.axes[0].lines
    assert len({line.get_linestyle() for line in lines}) == 3
    assert len({line.get_color() for line in lines}) == 3


def test_compared_clouds_share_limits_and_scale():
    figure = scatter_panels({"a": torch.zeros(3, 2), "b": 5 * torch.ones(3, 2)}, limit=2.0)
    assert {ax.get_xlim() for ax in figure.axes} == {(-2.0, 2.0)}
    assert all(ax.get_aspect() == 1.0 for ax in figure.axes)
    assert figure.axes[0].get_xlabel() == "$x_1$"


def test_rows_show_titles_and_labels():
    figure = image_rows({"clean": torch.zeros(2, 1, 4, 4), "noisy": torch.ones(2, 1, 4, 4)}, titles=["0", "500"])
    assert [ax.get_title() for ax in figure.axes[:2]] == ["0", "500"]
    assert figure.axes[0].get_ylabel() == "clean"
    assert figure.axes[2].get_ylabel() == "noisy"


def test_rows_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"equally many images, got \[1, 2\]"):
        image_rows({"a": torch.zeros(1, 1, 4, 4), "b": torch.zeros(2, 1, 4, 4)})
    with pytest.raises(ValueError, match="one title for each of the 2 columns, got 1"):
        image_rows({"a": torch.zeros(2, 1, 4, 4)}, titles=["x"])


def test_points_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match=r"points must have shape \(N, 2\), got \(3, 3\)"):
        scatter_panels({"a": torch.zeros(3, 3)})


def test_equal_pictures_give_equal_bytes():
    first, second = (png(image_grid(torch.zeros(4, 1, 8, 8), columns=2, title="x")) for _ in range(2))
    assert first == second
    assert b"Software" not in first


def test_animation_holds_every_frame_in_order():
    figure, (ax,) = panels(1, 1, width=2, height=2)
    bar = ax.axvspan(0, 0.1, color="black")
    ax.set_xlim(0, 1)
    film = animation(figure, lambda k: bar.set_bounds(0, 0, (1 + k) / 3, 1), range(3), fps=10)
    picture = Image.open(io.BytesIO(film))
    assert picture.n_frames == 3
    dark = []
    for k in range(3):
        picture.seek(k)
        dark.append(int((np.asarray(picture.convert("L")) < 50).sum()))
    assert dark[0] < dark[1] < dark[2]


def test_an_empty_animation_is_refused():
    with pytest.raises(ValueError, match="frames is empty"):
        animation(panels(1, 1)[0], lambda k: None, [])
