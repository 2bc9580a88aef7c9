"""The mask that the reader draws: its strokes, its answers, its picture, and how fast it is drawn."""

from __future__ import annotations

import statistics
import time

import pytest
import torch

from diffedu._tensor import seeded
from diffedu.core import DatasetDenoiser, DiscreteDDPM, cosine_betas
from diffedu.show.widgets.mask_drawing import ANSWERS, MaskDrawing

PATH = DiscreteDDPM(cosine_betas(1000))
# Two pictures that agree above and differ below: the upper half leaves both open.
ABOVE = torch.randn(1, 1, 14, 28, generator=seeded(0)).clamp(-1, 1)
IMAGES = torch.cat([ABOVE.expand(2, -1, -1, -1), torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1).expand(2, 1, 14, 28)], 2)
EXACT = DatasetDenoiser(IMAGES, PATH)


def test_every_control_changes_the_picture_and_reset_restores_it():
    drawing = MaskDrawing(EXACT, PATH, IMAGES)
    first = drawing.picture.png
    changes = (
        (drawing.image, 1),
        (drawing.preset, "centre"),
        (drawing.row, 3),
        (drawing.column, 3),
        (drawing.width, 3),
        (drawing.strokes, "keep 20 20 4"),
        (drawing.steps, 5),
        (drawing.visits, 1),
    )
    for control, other in changes:
        control.value = other
        assert drawing.picture.png != first, control
        drawing.picture.reset()
        assert drawing.picture.png == first, control
    assert drawing.picture.message.value == ""


def test_buttons_and_text_draw_the_same_mask():
    clicked, typed = MaskDrawing(EXACT, PATH, IMAGES), MaskDrawing(EXACT, PATH, IMAGES)
    clicked.preset.value = typed.preset.value = "nothing"
    clicked.row.value, clicked.column.value, clicked.width.value = 10, 12, 6
    clicked.erase.click()
    clicked.width.value = 2
    clicked.keep.click()
    typed.strokes.value = "erase 10 12 6;  keep 10 12 2"
    assert torch.equal(clicked.mask(), typed.mask())
    expected = torch.ones(28, 28, dtype=torch.bool)
    expected[7:13, 9:15] = False
    expected[9:11, 11:13] = True
    assert torch.equal(clicked.mask(), expected)


def test_a_brush_at_the_border_stays_inside():
    drawing = MaskDrawing(EXACT, PATH, IMAGES)
    drawing.preset.value = "nothing"
    drawing.strokes.value = "erase 0 27 6"
    assert (~drawing.mask()).nonzero().amin(0).tolist() == [0, 24]
    assert int((~drawing.mask()).sum()) == 3 * 4


def test_answers_keep_what_is_known_and_differ_where_it_is_not():
    drawing = MaskDrawing(EXACT, PATH, IMAGES)
    drawing.visits.value, drawing.steps.value = 3, 25
    lower = set()
    for _ in range(4):
        drawing.fill.click()
        answers = drawing.answers()
        assert answers.shape == (ANSWERS, 1, 28, 28)
        torch.testing.assert_close(answers[:, :, :14], ABOVE.expand(ANSWERS, -1, -1, -1))
        lower |= {round(v) for v in answers[:, 0, 14:].mean(dim=(1, 2)).tolist()}
    assert lower == {-1, 1}  # both pictures of the data come up


def test_answers_belong_to_the_question_that_is_shown():
    drawing = MaskDrawing(EXACT, PATH, IMAGES)
    assert drawing.answers() is not None
    spent = drawing.evaluations
    drawing.erase.click()
    assert drawing.answers() is None
    assert drawing.evaluations == spent  # drawing never runs the sampler
    drawing.fill.click()
    assert drawing.answers() is not None
    assert drawing.evaluations == spent + 19  # 9 stretches twice and the last once
    assert drawing.progress.value == ""


def test_what_cannot_be_read_is_said_and_the_picture_stays():
    drawing = MaskDrawing(EXACT, PATH, IMAGES)
    before = drawing.picture.png
    drawing.strokes.value = "rub 3 4"
    assert "cannot read" in drawing.picture.message.value
    assert drawing.picture.png == before
    drawing.strokes.value = ""
    assert drawing.picture.message.value == ""


def test_drawing_is_fast():
    drawing = MaskDrawing(EXACT, PATH, IMAGES)
    spans = []
    for k in range(11):
        began = time.perf_counter()
        drawing.row.value = 5 + k
        drawing.erase.click()
        assert drawing.picture.png
        spans.append((time.perf_counter() - began) / 2)
    assert statistics.median(spans) < 0.1


def test_pictures_that_are_no_squares_are_refused():
    with pytest.raises(ValueError, match=r"shape \(N, 1, H, H\)"):
        MaskDrawing(EXACT, PATH, torch.zeros(1, 1, 28, 14))
