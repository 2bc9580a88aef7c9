"""Samplers: one loop, many solvers."""

from diffedu.sampling.ancestral import DDIM, Ancestral, beta_tilde_variance, beta_variance, step_variance
from diffedu.sampling.ode import Euler, Heun
from diffedu.sampling.sde import EulerMaruyama, Langevin
from diffedu.sampling.solver import Solver, sample, start_noise, trajectory

__all__ = [
    "DDIM",
    "Ancestral",
    "Euler",
    "EulerMaruyama",
    "Heun",
    "Langevin",
    "Solver",
    "beta_variance",
    "beta_tilde_variance",
    "sample",
    "start_noise",
    "step_variance",
    "trajectory",
]
