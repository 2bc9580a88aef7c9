"""Error messages as sentences: what was given, what was expected, and the nearest thing we know."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """A ValueError for a name that is not known; it proposes the nearest known one.

    Args:
        kind: what the name stands for, in the singular ("data set", "recipe").
        name: what was given.
        known: the names that would have been accepted.

    Returns:
        The exception, for the caller to raise.

    Example:
        >>> print(unknown("data set", "mons", ["moons", "rings"]))
        unknown data set 'mons'; did you mean 'moons'? Known: moons, rings.
    """
    names = sorted(known)
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    guess = f"; did you mean {close[0]!r}?" if close else "."
    return ValueError(f"unknown {kind} {name!r}{guess} Known: {', '.join(names)}.")
