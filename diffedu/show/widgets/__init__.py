"""Pictures with knobs, for notebooks. Only this folder imports ipywidgets."""

from __future__ import annotations

from diffedu.show.widgets.ddim import DDIMPaths
from diffedu.show.widgets.digit_sampler import DigitSampler
from diffedu.show.widgets.draw_your_own import DrawYourOwn
from diffedu.show.widgets.equilibrium import NoiseAndPull
from diffedu.show.widgets.few_steps import FewSteps
from diffedu.show.widgets.fokker_planck import DensityAndCloud
from diffedu.show.widgets.guidance import GuidanceField
from diffedu.show.widgets.langevin import LangevinPlayground
from diffedu.show.widgets.latent_walk import LatentWalk
from diffedu.show.widgets.mask_drawing import MaskDrawing
from diffedu.show.widgets.parameterisation import ParameterisationDial
from diffedu.show.widgets.picture import MovingFigure, Picture
from diffedu.show.widgets.reflow import ReflowExplorer
from diffedu.show.widgets.sampler_race import SamplerRace
from diffedu.show.widgets.schedule import Exploration, ScheduleExplorer, explore, log_snr_betas
from diffedu.show.widgets.score_field import ScoreField
from diffedu.show.widgets.stochasticity import StochasticityDial

__all__ = [
    "DDIMPaths",
    "DensityAndCloud",
    "DigitSampler",
    "DrawYourOwn",
    "Exploration",
    "FewSteps",
    "GuidanceField",
    "LangevinPlayground",
    "LatentWalk",
    "MaskDrawing",
    "MovingFigure",
    "NoiseAndPull",
    "ParameterisationDial",
    "Picture",
    "SamplerRace",
    "ReflowExplorer",
    "ScheduleExplorer",
    "ScoreField",
    "StochasticityDial",
    "explore",
    "log_snr_betas",
]
