r"""The density of a cloud of diffusing particles, without the particles: finite volumes in one and two dimensions.

For dx = f(x) dt + sqrt(2 D) dW the density obeys dp/dt = -div J with the current J = f p - D grad p. Space is cut into
equal cells; a cell keeps its *average* density; probability hops between neighbours at rates that are exact for a
constant current through a linear potential. What comes out is a random walk on the cells: its rates are never negative
and what leaves a cell enters the next, so the density stays positive and its mass stays 1, and detailed balance makes
the Boltzmann law an exact equilibrium. Everything is numpy in float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

Array = np.ndarray
Field = Callable[..., Any]
"""A function of the coordinates, ``f(x)`` in one dimension and ``f(x, y)`` in two, on arrays of any shape."""

# Poisson numbers of hops with a larger mean are drawn in several pieces: exp(-mean) must not underflow.
LONGEST_PIECE = 400.0


@dataclass(frozen=True)
class Grid:
    """Equal cells of the interval [low, high], or of the square [low, high]^2.

    Args:
        low: where the box begins, data units.
        high: where it ends.
        cells: how many cells along each axis, at least 2.
        dim: 1 or 2.

    Raises:
        ValueError: an empty box, fewer than 2 cells, or another dimension.

    Taught in: chapter 3.

    Example:
        >>> grid = Grid(-1.0, 1.0, 4)
        >>> grid.centers.tolist()
        [-0.75, -0.25, 0.25, 0.75]
    """

    low: float
    high: float
    cells: int
    dim: int = 1

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"the box must have low < high, got low = {self.low} and high = {self.high}")
        if self.cells < 2:
            raise ValueError(f"cells must be at least 2, got {self.cells}")
        if self.dim not in (1, 2):
            raise ValueError(f"dim must be 1 or 2, got {self.dim}: cells^dim grows too fast for more")

    @property
    def width(self) -> float:
        """The side h of a cell."""
        return (self.high - self.low) / self.cells

    @property
    def volume(self) -> float:
        """h^dim: a density times this is the probability of a cell."""
        return self.width**self.dim

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a density on this grid: (cells,) or (cells, cells), x along the first axis."""
        return (self.cells,) * self.dim

    @property
    def edges(self) -> Array:
        """Where cells begin and end along an axis, shape (cells + 1,)."""
        return np.linspace(self.low, self.high, self.cells + 1)

    @property
    def centers(self) -> Array:
        """The middles of the cells along an axis, shape (cells,)."""
        return (self.edges[1:] + self.edges[:-1]) / 2

    def mesh(self) -> list[Array]:
        """The coordinates of the cells' middles, one array of the grid's shape for each axis."""
        return list(np.meshgrid(*[self.centers] * self.dim, indexing="ij"))

    def faces(self, axis: int) -> list[Array]:
        """The coordinates of the middles of the inner faces across an axis, shape (cells - 1) along that axis."""
        along = [self.edges[1:-1] if a == axis else self.centers for a in range(self.dim)]
        return list(np.meshgrid(*along, indexing="ij"))

    def finer(self) -> Grid:
        """The same box in cells of half the side."""
        return Grid(self.low, self.high, 2 * self.cells, self.dim)

    def average(self, function: Field) -> Array:
        """The averages of a function over the cells, by six Gauss points along each axis.

        Args:
            function: of the coordinates, smooth on the scale of a cell.

        Returns:
            Array of the grid's shape.

        Example:
            >>> Grid(0.0, 2.0, 2).average(lambda x: x**3).round(6).tolist()
            [0.25, 3.75]
        """
        nodes, weights = np.polynomial.legendre.leggauss(6)
        total = np.zeros(self.shape)
        for picked in itertools.product(range(len(nodes)), repeat=self.dim):
            shifted = [x + self.width / 2 * nodes[i] for x, i in zip(self.mesh(), picked, strict=True)]
            total += np.prod(weights[list(picked)] / 2) * np.asarray(function(*shifted))
        return total

    def histogram(self, points: torch.Tensor | Array) -> Array:
        """The density of a cloud: the share of its points in each cell, divided by the cell's volume.

        Args:
            points: shape (N,) or (N, dim); points outside the box are counted in N, but in no cell.

        Returns:
            Array of the grid's shape.

        Example:
            >>> Grid(0.0, 2.0, 2).histogram(np.array([0.1, 0.2, 0.3, 1.5])).tolist()
            [0.75, 0.25]
        """
        cloud = np.asarray(points.detach().cpu() if isinstance(points, torch.Tensor) else points, dtype=np.float64)
        cloud = cloud.reshape(len(cloud), -1)
        if cloud.shape[1] != self.dim:
            raise ValueError(f"points must have {self.dim} coordinates on this grid, got {cloud.shape[1]}")
        counts, _ = np.histogramdd(cloud, bins=[self.edges] * self.dim)
        return np.asarray(counts / (len(cloud) * self.volume))


def bernoulli(w: Array | float) -> Array:
    """w / (e^w - 1), continued by 1 at w = 0: how an uphill step of height w (in kT) slows a hop.

    It tends to 0 for high steps up and to -w for deep steps down, and bernoulli(-w) = e^w bernoulli(w).

    Args:
        w: any shape, in units of kT.

    Returns:
        The same shape, positive.

    Taught in: chapter 3.

    Example:
        >>> bernoulli(np.array([-1000.0, 0.0, 1e-12, 1000.0])).round(6).tolist()
        [1000.0, 1.0, 1.0, 0.0]
    """
    w = np.asarray(w, dtype=np.float64)
    near = np.abs(w) < 1e-5
    safe = np.clip(np.where(near, 1.0, w), None, 700.0)  # e^700 is still a number
    return np.where(near, 1 - w / 2 + w**2 / 12, safe / np.expm1(safe))


@dataclass(frozen=True, eq=False)
class FokkerPlanck:
    r"""The equation dp/dt = -div(f p - D grad p) on a grid with closed walls, as a random walk on its cells.

    From a cell to the next one along an axis, and back, probability hops at the rates

        right = D/h^2 B(w),    left = D/h^2 B(-w),    B(w) = w / (e^w - 1),

    where w = Delta U / kT is the step of the potential between the two middles, or -f h / D for a drift f at the face.
    Make one with `from_potential` or `from_drift`.

    Args:
        grid: the cells.
        diffusion: D, data units^2 per time unit, positive.
        steps: for each axis the steps w at the inner faces, in kT.
        energy: U / kT at the middles of the cells; None where the drift has no potential.

    Reference: Scharfetter & Gummel 1969; Chang & Cooper 1970. Taught in: chapter 3.

    Example:
        >>> well = FokkerPlanck.from_potential(lambda x: x**2 / 2, Grid(-6.0, 6.0, 60))
        >>> p = well.evolve(well.grid.average(lambda x: np.exp(-((x - 2) ** 2) / 2) / np.sqrt(2 * np.pi)), 1.0)
        >>> mean = (well.grid.centers * p).sum() * well.grid.width
        >>> print(f"{mean:.2f}, {2 * np.exp(-1):.2f}")
        0.74, 0.74
    """

    grid: Grid
    diffusion: float
    steps: tuple[Array, ...]
    energy: Array | None

    def __post_init__(self) -> None:
        if not self.diffusion > 0:
            raise ValueError(f"the diffusion coefficient must be positive, got {self.diffusion}")
        if not all(np.isfinite(w).all() for w in self.steps):
            raise ValueError("the potential (or the drift) is not finite everywhere in the box")

    @classmethod
    def from_potential(cls, potential: Field, grid: Grid, *, mobility: float = 1.0, kT: float = 1.0) -> FokkerPlanck:
        """The equation of dx = -mobility grad U dt + sqrt(2 mobility kT) dW.

        Args:
            potential: U(x) or U(x, y), energy units.
            grid: the cells.
            mobility: velocity per force, positive.
            kT: temperature in energy units, positive.

        Raises:
            ValueError: mobility or kT is not positive, or U is not finite in the box.

        Example:
            >>> FokkerPlanck.from_potential(lambda x: x**2, Grid(-1.0, 1.0, 4), kT=0.5).diffusion
            0.5
        """
        if not (mobility > 0 and kT > 0):
            raise ValueError(f"mobility and kT must be positive, got {mobility} and {kT}")
        energy = np.broadcast_to(np.asarray(potential(*grid.mesh()), dtype=np.float64) / kT, grid.shape)
        return cls(grid, mobility * kT, tuple(np.diff(energy, axis=a) for a in range(grid.dim)), energy)

    @classmethod
    def from_drift(cls, drift: Field, grid: Grid, *, diffusion: float = 1.0) -> FokkerPlanck:
        """The equation of dx = f(x) dt + sqrt(2 D) dW for any drift f, with a potential or without one.

        Args:
            drift: f(x), or (f_x(x, y), f_y(x, y)) as a tuple, data units per time unit.
            grid: the cells.
            diffusion: D = g^2 / 2 for noise written as g dW.

        Raises:
            ValueError: D is not positive, or f is not finite in the box.

        Example:
            >>> turning = FokkerPlanck.from_drift(lambda x, y: (y - x, -x - y), Grid(-4.0, 4.0, 16, dim=2))
            >>> turning.energy is None
            True
        """
        if not diffusion > 0:
            raise ValueError(f"the diffusion coefficient must be positive, got {diffusion}")
        steps = []
        for axis in range(grid.dim):
            faces = grid.faces(axis)
            value = drift(*faces)
            component = value[axis] if grid.dim > 1 else value
            field = np.broadcast_to(np.asarray(component, dtype=np.float64), faces[0].shape)
            steps.append(-field * grid.width / diffusion)
        # On a line every drift has a potential: the sum of its steps.
        energy = np.concatenate([[0.0], np.cumsum(steps[0])]) if grid.dim == 1 else None
        return cls(grid, diffusion, tuple(steps), energy)

    @cached_property
    def rates(self) -> tuple[tuple[Array, Array], ...]:
        """For each axis the rates (to the higher cell, to the lower cell) of a hop over each inner face."""
        scale = self.diffusion / self.grid.width**2
        return tuple((scale * bernoulli(w), scale * bernoulli(-w)) for w in self.steps)

    @cached_property
    def generator(self) -> Any:
        """The sparse matrix Q with dp/dt = Q p: gains off the diagonal, losses on it, columns that sum to 0."""
        import scipy.sparse

        number = np.arange(self.grid.cells**self.grid.dim).reshape(self.grid.shape)
        into, out_of, rate = [], [], []
        for axis, (up, down) in enumerate(self.rates):
            lower, higher = _pairs(number, axis)
            into += [higher.ravel(), lower.ravel()]
            out_of += [lower.ravel(), higher.ravel()]
            rate += [up.ravel(), down.ravel()]
        gains = scipy.sparse.coo_matrix(
            (np.concatenate(rate), (np.concatenate(into), np.concatenate(out_of))), shape=(number.size, number.size)
        ).tocsr()
        losses = np.asarray(gains.sum(axis=0)).ravel()
        return (gains - scipy.sparse.diags(losses)).tocsr()

    def current(self, p: Array) -> tuple[Array, ...]:
        """The probability current J over the inner faces, one array for each axis; over the walls it is 0.

        Args:
            p: a density of the grid's shape.

        Returns:
            For each axis an array, shorter by one along it; probability per time and unit of face.

        Example:
            >>> flat = FokkerPlanck.from_potential(lambda x: 0 * x, Grid(0.0, 3.0, 3))
            >>> flat.current(np.array([1.0, 0.0, 0.0]))[0].tolist()
            [1.0, 0.0]
        """
        p = self._checked(p)
        pairs = [_pairs(p, axis) for axis in range(self.grid.dim)]
        return tuple(
            self.grid.width * (up * lower - down * higher)
            for (lower, higher), (up, down) in zip(pairs, self.rates, strict=True)
        )

    def evolve(self, p: Array, t: float) -> Array:
        r"""The density a time t later, exact in time: an average over a Poisson number of hops.

            p(t) = e^(Qt) p = sum_k e^(-rt) (rt)^k / k!  H^k p,        H = I + Q / r,

        with r the fastest rate at which a cell is left. H has no negative entry and its columns sum to 1, so p stays
        positive and its mass constant, whatever t is. The cost is about r t products with a sparse matrix.

        Args:
            p: a density of the grid's shape.
            t: time units, not negative.

        Returns:
            The density at t, a new array of the same shape.

        Raises:
            ValueError: another shape, or t < 0: backwards in time the equation has no stable solution.

        Reference: Jensen 1953 ("uniformization"). Taught in: chapter 3.

        Example:
            >>> flat = FokkerPlanck.from_potential(lambda x: 0 * x, Grid(0.0, 2.0, 2))
            >>> print(flat.evolve(np.array([1.0, 0.0]), 0.5).round(4), round((1 + math.exp(-1)) / 2, 4))
            [0.6839 0.3161] 0.6839
        """
        if not t >= 0:
            raise ValueError(f"t must not be negative, got {t}: the equation cannot be run backwards")
        import scipy.sparse

        state = self._checked(p).ravel().copy()
        fastest = float(-self.generator.diagonal().min())
        hop = (scipy.sparse.identity(state.size, format="csr") + self.generator / fastest).tocsr()
        pieces = math.ceil(fastest * t / LONGEST_PIECE)
        weights = _poisson(fastest * t / max(pieces, 1))
        for _ in range(pieces):
            after_k_hops, state = state, weights[0] * state
            for weight in weights[1:]:
                after_k_hops = hop @ after_k_hops
                state += weight * after_k_hops
        return state.reshape(self.grid.shape)

    def equilibrium(self) -> Array:
        """The Boltzmann law exp(-U/kT) / Z at the cells' middles: no current flows in it, exactly.

        Returns:
            Array of the grid's shape; the sum times the cells' volume is 1.

        Raises:
            ValueError: the drift has no potential.
        """
        energy = self._energy()
        boltzmann = np.exp(energy.min() - energy)
        return np.asarray(boltzmann / (boltzmann.sum() * self.grid.volume))

    def free_energy(self, p: Array) -> float:
        """What a density has above the free energy of equilibrium, in kT: (F[p] - F[p_eq]) / kT = KL(p || p_eq).

        Args:
            p: a density of the grid's shape, not negative.

        Returns:
            A number that is 0 at equilibrium only; `evolve` never raises it.

        Raises:
            ValueError: p is negative somewhere, or the drift has no potential.

        Taught in: chapter 3.

        Example:
            >>> well = FokkerPlanck.from_potential(lambda x: x**2 / 2, Grid(-6.0, 6.0, 60))
            >>> abs(well.free_energy(well.equilibrium())) < 1e-12
            True
        """
        p, energy = self._checked(p), self._energy()
        if (p < 0).any():
            raise ValueError("free energy needs log p, but p is negative somewhere (was it extrapolated?)")
        log_partition = math.log(np.exp(energy.min() - energy).sum() * self.grid.volume) - energy.min()
        entropy_term = np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0)
        return float(((entropy_term + p * (energy + log_partition)).sum()) * self.grid.volume)

    def relaxation_rates(self, count: int = 2) -> Array:
        r"""The slowest rates at which deviations from equilibrium decay, ascending; the first is 0.

        Dividing by the root of the equilibrium makes the generator symmetric, so its spectrum is real:
        -Q has the off-diagonal entries -sqrt(up down).

        Args:
            count: how many.

        Returns:
            Array (count,), per time unit. Rounding adds about 1e-16 of the fastest rate.

        Raises:
            ValueError: the drift has no potential (the spectrum may be complex), or count does not fit the grid.

        Taught in: chapter 3.

        Example:
            >>> spring = FokkerPlanck.from_potential(lambda x: x**2 / 2, Grid(-8.0, 8.0, 800))
            >>> spring.relaxation_rates(4).round(2).tolist()
            [0.0, 1.0, 2.0, 3.0]
        """
        import scipy.linalg
        import scipy.sparse
        import scipy.sparse.linalg

        energy = self._energy()
        if not 1 <= count < energy.size:
            raise ValueError(f"count must be between 1 and {energy.size - 1}, got {count}")
        if self.grid.dim == 1:
            ((up, down),) = self.rates
            leaving = -self.generator.diagonal()
            found = scipy.linalg.eigh_tridiagonal(
                leaving, -np.sqrt(up * down), eigvals_only=True, select="i", select_range=(0, count - 1)
            )
            return np.asarray(found)
        both_ways = self.generator.multiply(self.generator.T).sqrt()  # sqrt(up down); on the diagonal the losses
        symmetric = -2 * scipy.sparse.diags(self.generator.diagonal()) - both_ways
        start = np.ones(energy.size)  # eigsh would draw one from hidden random state
        found = scipy.sparse.linalg.eigsh(
            symmetric.tocsc(), k=count, sigma=-1.0, which="LM", v0=start, return_eigenvectors=False
        )
        return np.sort(found)

    def _checked(self, p: Array) -> Array:
        p = np.asarray(p, dtype=np.float64)
        if p.shape != self.grid.shape:
            raise ValueError(f"a density on this grid has shape {self.grid.shape}, got {p.shape}")
        return p

    def _energy(self) -> Array:
        if self.energy is None:
            raise ValueError("this drift has no potential, so it has no Boltzmann law; use evolve")
        return self.energy


def restrict(fine: Array) -> Array:
    """Cell averages on cells of twice the side: the mean of each pair, or of each 2 x 2 block. Mass is kept.

    Args:
        fine: averages, an even number along each axis.

    Returns:
        Half as many along each axis.

    Raises:
        ValueError: an odd number of cells along some axis.

    Example:
        >>> restrict(np.array([1.0, 3.0, 5.0, 5.0])).tolist()
        [2.0, 5.0]
    """
    fine = np.asarray(fine, dtype=np.float64)
    if any(n % 2 for n in fine.shape):
        raise ValueError(f"pairs of cells need an even number along each axis, got shape {fine.shape}")
    for axis in range(fine.ndim):
        fine = (fine.take(range(0, fine.shape[axis], 2), axis) + fine.take(range(1, fine.shape[axis], 2), axis)) / 2
    return fine


def extrapolate(coarse: Array, fine: Array, *, order: int = 2) -> Array:
    r"""Richardson: from values with errors C h^order and C (h/2)^order, the combination without that error.

        (2^order fine - coarse) / (2^order - 1)

    The weights sum to 1, so mass is kept. One weight is negative, so the sign is not: where the density is not
    resolved the result may be negative (see `extrapolate_positive`).

    Args:
        coarse: values at step h.
        fine: values of the same things at step h/2, the same shape (`restrict` brings densities there).
        order: of the error that is removed.

    Returns:
        The same shape; if the errors go in even powers of h, its order is 2 more.

    Raises:
        ValueError: the shapes differ.

    Taught in: chapter 3.

    Example:
        >>> exact, error = 5.0, 0.16
        >>> float(extrapolate(np.array(exact + error), np.array(exact + error / 4)))
        5.0
    """
    coarse, fine = np.asarray(coarse, dtype=np.float64), np.asarray(fine, dtype=np.float64)
    if coarse.shape != fine.shape:
        raise ValueError(f"coarse and fine must have one shape, got {coarse.shape} and {fine.shape}; see restrict")
    return np.asarray((2**order * fine - coarse) / (2**order - 1))


def extrapolate_positive(coarse: Array, fine: Array) -> Array:
    r"""Richardson on the logarithm of a density, then normalised to the mass of `fine`: positive, of order 4.

        log p = (4 log p_fine - log p_coarse) / 3 + const

    log p has an error in even powers of h as p has. The constant, of order h^4, repairs the mass, which this
    combination does not keep by itself. Where `coarse` or `fine` has underflowed to 0, `fine` is kept.

    Args:
        coarse: a density at step h, not negative.
        fine: the density at step h/2, brought to the same cells by `restrict`.

    Returns:
        The same shape, not negative.

    Raises:
        ValueError: the shapes differ, or a density is negative.

    Taught in: chapter 3.

    Example:
        >>> extrapolate_positive(np.array([0.5, 0.5]), np.array([0.5, 0.5])).tolist()
        [0.5, 0.5]
    """
    coarse, fine = np.asarray(coarse, dtype=np.float64), np.asarray(fine, dtype=np.float64)
    if coarse.shape != fine.shape:
        raise ValueError(f"coarse and fine must have one shape, got {coarse.shape} and {fine.shape}; see restrict")
    if (coarse < 0).any() or (fine < 0).any():
        raise ValueError("logarithms need densities that are not negative")
    known = (coarse > 0) & (fine > 0)
    ratio = np.where(known, fine, 1.0) / np.where(known, coarse, 1.0)
    positive = fine * np.cbrt(ratio)
    return np.asarray(positive * (fine.sum() / positive.sum()))


def _pairs(a: Array, axis: int) -> tuple[Array, Array]:
    """Both sides of every inner face across an axis: the lower and the higher cells."""
    n = a.shape[axis]
    return a.take(range(n - 1), axis), a.take(range(1, n), axis)


def _poisson(mean: float) -> Array:
    """The probabilities of 0, 1, 2, ... events up to where they no longer count in float64; they sum to 1."""
    weights = [math.exp(-mean)]
    while len(weights) <= mean or weights[-1] > 1e-20:
        weights.append(weights[-1] * mean / len(weights))
    probabilities = np.array(weights)
    return np.asarray(probabilities / probabilities.sum())
