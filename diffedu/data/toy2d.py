r"""Toy distributions in the plane, all at one scale.

Each is drawn in the coordinates in which it is easiest to say, then shifted and scaled by constants that come
from its exact moments: the mean is zero and the two variances average to one,

.. math:: \mathbb E[x] = 0, \qquad \tfrac12 \operatorname{tr} \operatorname{Cov}[x] = 1,

so that one noise schedule fits all of them. The shape is kept: both axes are divided by the same number.
Samples are independent, float32, and live on the generator's device.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from diffedu._errors import unknown
from diffedu._tensor import randn


def moons(n: int, *, generator: torch.Generator, noise: float = 0.05) -> Tensor:
    """Two interleaved half circles.

    Args:
        n: How many points.
        generator: The source of randomness; its device is where the points live.
        noise: Standard deviation of the points around their arc, in units of the arc's radius.

    Returns:
        Points ``(n, 2)`` float32, unit scale.

    Raises:
        ValueError: n below 1 or a negative noise.

    Taught in: chapter 0.

    Example:
        >>> from diffedu._tensor import seeded
        >>> moons(4, generator=seeded(0)).shape
        torch.Size([4, 2])
    """
    return moons_with_labels(n, generator=generator, noise=noise)[0]


def moons_with_labels(n: int, *, generator: torch.Generator, noise: float = 0.05) -> tuple[Tensor, Tensor]:
    """Two interleaved half circles, with the arc that each point belongs to.

    Args:
        n: How many points.
        generator: The source of randomness; its device is where the points live.
        noise: Standard deviation of the points around their arc, in units of the arc's radius.

    Returns:
        Points ``(n, 2)`` float32, unit scale, and labels ``(n,)`` int64: 0 for the upper arc, 1 for the
        lower.

    Raises:
        ValueError: n below 1 or a negative noise.

    Taught in: chapter 0.

    Example:
        >>> from diffedu._tensor import seeded
        >>> points, labels = moons_with_labels(1000, generator=seeded(0))
        >>> bool(points[labels == 0, 1].mean() > points[labels == 1, 1].mean())
        True
    """
    _check(n, noise=noise)
    labels = _choice(n, 2, generator)
    angle = math.pi * _uniform(n, generator)
    sign = 1 - 2 * labels  # the lower arc is the upper one turned by half a turn about (1/2, 1/4)
    points = torch.stack([0.5 + sign * (angle.cos() - 0.5), 0.25 + sign * (angle.sin() - 0.25)], dim=-1)
    # E|p - centre|^2 on the upper arc: E[(cos - 1/2)^2 + (sin - 1/4)^2] with E cos = 0, E sin = 2/pi.
    square = 1 + 0.25 + 0.0625 - 0.5 * 2 / math.pi
    return _unit(points, (0.5, 0.25), square, noise, generator), labels


def spiral(n: int, *, generator: torch.Generator, turns: float = 1.5, noise: float = 0.02) -> Tensor:
    """Two arms of an Archimedean spiral, one the other's mirror image through the origin.

    Args:
        n: How many points.
        generator: The source of randomness; its device is where the points live.
        turns: How often each arm goes round.
        noise: Standard deviation of the points around their arm, in units of the outer radius.

    Returns:
        Points ``(n, 2)`` float32, unit scale.

    Raises:
        ValueError: n below 1, turns not positive, or a negative noise.

    Taught in: chapter 0.

    Example:
        >>> from diffedu._tensor import seeded
        >>> spiral(4, generator=seeded(0)).shape
        torch.Size([4, 2])
    """
    _check(n, noise=noise)
    if not turns > 0:
        raise ValueError(f"turns must be positive, got {turns}")
    # The square root spreads points about evenly along the arm, instead of crowding them at the centre.
    radius = _uniform(n, generator).sqrt()
    signed = radius * (1 - 2 * _choice(n, 2, generator))
    return _unit(_polar(signed, 2 * math.pi * turns * radius), (0.0, 0.0), 0.5, noise, generator)


def checkerboard(n: int, *, generator: torch.Generator, squares: int = 4) -> Tensor:
    """Uniform on the dark squares of a board.

    Args:
        n: How many points.
        generator: The source of randomness; its device is where the points live.
        squares: Squares along each side, an even number.

    Returns:
        Points ``(n, 2)`` float32, unit scale.

    Raises:
        ValueError: n below 1, or squares not a positive even number.

    Taught in: chapter 0.

    Example:
        >>> from diffedu._tensor import seeded
        >>> checkerboard(4, generator=seeded(0)).shape
        torch.Size([4, 2])
    """
    _check(n)
    if squares < 2 or squares % 2:
        raise ValueError(f"squares must be a positive even number, got {squares}")
    column = _choice(n, squares, generator)
    row = 2 * _choice(n, squares // 2, generator) + column % 2
    corner = torch.stack([column, row], dim=-1)
    inside = torch.stack([_uniform(n, generator), _uniform(n, generator)], dim=-1)
    # Each coordinate alone is uniform on [0, squares].
    return _unit(corner + inside, (squares / 2, squares / 2), squares**2 / 6, 0.0, generator)


def rings(n: int, *, generator: torch.Generator, count: int = 3, noise: float = 0.08) -> Tensor:
    """Concentric circles of radius 1, 2, ..., equally likely.

    Args:
        n: How many points.
        generator: The source of randomness; its device is where the points live.
        count: How many circles.
        noise: Standard deviation of the points around their circle, in units of the innermost radius.

    Returns:
        Points ``(n, 2)`` float32, unit scale.

    Raises:
        ValueError: n or count below 1, or a negative noise.

    Taught in: chapter 0.

    Example:
        >>> from diffedu._tensor import seeded
        >>> rings(4, generator=seeded(0)).shape
        torch.Size([4, 2])
    """
    _check(n, noise=noise)
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    radius = 1.0 + _choice(n, count, generator)
    square = (count + 1) * (2 * count + 1) / 6  # the mean of 1, 4, ..., count^2
    return _unit(_polar(radius, 2 * math.pi * _uniform(n, generator)), (0.0, 0.0), square, noise, generator)


def pinwheel(
    n: int,
    *,
    generator: torch.Generator,
    arms: int = 5,
    radial: float = 0.3,
    tangential: float = 0.06,
    twist: float = 0.25,
) -> Tensor:
    """Long Gaussian blobs around a centre, each bent more the farther it reaches.

    Args:
        n: How many points.
        generator: The source of randomness; its device is where the points live.
        arms: How many blobs, at least 2.
        radial: Standard deviation along an arm, in units of its distance from the centre.
        tangential: Standard deviation across an arm, in the same units.
        twist: A point at distance r along its arm is turned by ``twist * exp(r)`` radians.

    Returns:
        Points ``(n, 2)`` float32, unit scale.

    Raises:
        ValueError: n below 1, fewer than two arms, or a negative deviation.

    Taught in: chapter 0.

    Example:
        >>> from diffedu._tensor import seeded
        >>> pinwheel(4, generator=seeded(0)).shape
        torch.Size([4, 2])
    """
    _check(n, radial=radial, tangential=tangential)
    if arms < 2:
        raise ValueError(f"arms must be at least 2 (one arm has no centre), got {arms}")
    along = 1 + radial * randn((n,), generator)
    across = tangential * randn((n,), generator)
    angle = 2 * math.pi / arms * _choice(n, arms, generator) + twist * along.exp()
    # A turn keeps lengths, whatever its angle: E|p|^2 = E along^2 + E across^2.
    square = 1 + radial**2 + tangential**2
    points = torch.stack(
        [along * angle.cos() - across * angle.sin(), along * angle.sin() + across * angle.cos()], dim=-1
    )
    return _unit(points, (0.0, 0.0), square, 0.0, generator)


def swiss_roll(n: int, *, generator: torch.Generator, noise: float = 0.03) -> Tensor:
    r"""The rolled-up strip seen from the side: ``(t cos t, t sin t)`` for t uniform from 3/2 to 9/2 of pi.

    Args:
        n: How many points.
        generator: The source of randomness; its device is where the points live.
        noise: Standard deviation of the points around the roll, in units of the strip's outer radius.

    Returns:
        Points ``(n, 2)`` float32, unit scale.

    Raises:
        ValueError: n below 1 or a negative noise.

    Reference:
        Sohl-Dickstein et al. (2015), "Deep unsupervised learning using nonequilibrium thermodynamics", figure
        1, which diffuses this shape.

    Taught in: chapter 0.

    Example:
        >>> from diffedu._tensor import seeded
        >>> swiss_roll(4, generator=seeded(0)).shape
        torch.Size([4, 2])
    """
    _check(n, noise=noise)
    # In units of the outer radius b = 9 pi / 2, so that the noise is in them too.
    angle = 1.5 * math.pi * (1 + 2 * _uniform(n, generator))
    outer = 4.5 * math.pi
    # Integrals of t cos t, t sin t and t^2 over the interval, divided by its length 3 pi.
    centre = (2 / outer, 2 / (3 * math.pi) / outer)
    square = 9.75 * math.pi**2 / outer**2 - centre[0] ** 2 - centre[1] ** 2
    return _unit(_polar(angle / outer, angle), centre, square, noise, generator)


def grid_of_gaussians(n: int, *, generator: torch.Generator, side: int = 5, std: float = 0.1) -> Tensor:
    """Equal round Gaussians on the points of a square grid.

    Args:
        n: How many points.
        generator: The source of randomness; its device is where the points live.
        side: Gaussians along each side of the grid, at least 2.
        std: Standard deviation of each, in units of the distance between neighbours.

    Returns:
        Points ``(n, 2)`` float32, unit scale.

    Raises:
        ValueError: n below 1, side below 2, or a negative deviation.

    Taught in: chapter 0.

    Example:
        >>> from diffedu._tensor import seeded
        >>> grid_of_gaussians(4, generator=seeded(0)).shape
        torch.Size([4, 2])
    """
    _check(n, std=std)
    if side < 2:
        raise ValueError(f"side must be at least 2, got {side}")
    points = torch.stack([_choice(n, side, generator), _choice(n, side, generator)], dim=-1).float()
    # Two coordinates, each uniform on 0, ..., side - 1.
    return _unit(points, ((side - 1) / 2, (side - 1) / 2), (side**2 - 1) / 6, std, generator)


class Toy(Protocol):
    """What every toy distribution looks like from outside."""

    def __call__(self, n: int, *, generator: torch.Generator) -> Tensor:
        """Draw n points, shape ``(n, 2)``."""
        ...


TOYS: dict[str, Toy] = {
    "checkerboard": checkerboard,
    "grid_of_gaussians": grid_of_gaussians,
    "moons": moons,
    "pinwheel": pinwheel,
    "rings": rings,
    "spiral": spiral,
    "swiss_roll": swiss_roll,
}


def toy(name: str, n: int, generator: torch.Generator) -> Tensor:
    """Draw from a toy distribution by its name, with its default settings.

    Args:
        name: One of the names in ``TOYS``.
        n: How many points.
        generator: The source of randomness; its device is where the points live.

    Returns:
        Points ``(n, 2)`` float32, unit scale.

    Raises:
        ValueError: Unknown name (the message has the nearest known one), or n below 1.

    Taught in: chapter 0.

    Example:
        >>> from diffedu._tensor import seeded
        >>> bool((toy("rings", 5, seeded(0)) == rings(5, generator=seeded(0))).all())
        True
    """
    if name not in TOYS:
        raise unknown("toy distribution", name, TOYS)
    return TOYS[name](n, generator=generator)


def _check(n: int, **not_negative: float) -> None:
    if n < 1:
        raise ValueError(f"n must be at least 1, got {n}")
    for name, value in not_negative.items():
        if not value >= 0:
            raise ValueError(f"{name} must not be negative, got {value}")


def _uniform(n: int, generator: torch.Generator) -> Tensor:
    return torch.rand(n, generator=generator, device=generator.device, dtype=torch.float32)


def _choice(n: int, among: int, generator: torch.Generator) -> Tensor:
    return torch.randint(among, (n,), generator=generator, device=generator.device)


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)


def _unit(
    points: Tensor, centre: tuple[float, float], square: float, noise: float, generator: torch.Generator
) -> Tensor:
    """Add noise and bring to unit scale; `square` is E|p - centre|^2 without the noise."""
    shifted = points - torch.tensor(centre, device=points.device)
    if noise > 0:
        shifted = shifted + noise * randn((len(points), 2), generator)
    return shifted / math.sqrt(square / 2 + noise**2)
