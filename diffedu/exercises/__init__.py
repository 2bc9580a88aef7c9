"""Exercises that check themselves: ``check``, ``hint``, ``grade``; the checks stand in ``chNN.py``.

Example:
    >>> from diffedu.exercises import exercises
    >>> exercises(98)
    []
"""

from diffedu.exercises._framework import (
    Attempt,
    Exercise,
    NotAttempted,
    Wrong,
    chapters,
    check,
    exercise,
    exercises,
    expect_choice,
    expect_close,
    expect_number,
    expect_parts,
    expect_shape,
    find,
    grade,
    hint,
    judge,
    seed_of,
)
from diffedu.exercises._targets import target_curves, target_figure, target_images, target_points, targets

__all__ = [
    "Attempt",
    "Exercise",
    "NotAttempted",
    "Wrong",
    "chapters",
    "check",
    "exercise",
    "exercises",
    "expect_choice",
    "expect_close",
    "expect_number",
    "expect_parts",
    "expect_shape",
    "find",
    "grade",
    "hint",
    "judge",
    "seed_of",
    "target_curves",
    "target_figure",
    "target_images",
    "target_points",
    "targets",
]
