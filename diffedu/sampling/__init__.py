"""Samplers: one loop, many solvers."""

from diffedu.sampling.ancestral import DDIM, Ancestral, beta_tilde_variance, beta_variance, step_variance
from diffedu.sampling.grids import optimised_times
from diffedu.sampling.langevin import MALA, ULA
from diffedu.sampling.likelihood import exact_divergence, hutchinson_divergence, log_likelihood, signs_like
from diffedu.sampling.multistep import DEIS, AdamsBashforth, CorrectedDEIS, DPMSolverPP2M
from diffedu.sampling.ode import Euler, Heun
from diffedu.sampling.sde import Churn, EulerMaruyama, Langevin, PredictorCorrector, repeated
from diffedu.sampling.solver import Solver, sample, start_noise, trajectory

__all__ = [
    "DDIM",
    "DEIS",
    "AdamsBashforth",
    "Ancestral",
    "Churn",
    "CorrectedDEIS",
    "DPMSolverPP2M",
    "Euler",
    "EulerMaruyama",
    "Heun",
    "Langevin",
    "MALA",
    "PredictorCorrector",
    "Solver",
    "ULA",
    "beta_variance",
    "beta_tilde_variance",
    "exact_divergence",
    "hutchinson_divergence",
    "log_likelihood",
    "optimised_times",
    "repeated",
    "sample",
    "signs_like",
    "start_noise",
    "step_variance",
    "trajectory",
]
