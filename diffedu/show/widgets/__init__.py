"""Pictures with knobs, for notebooks. Only this folder imports ipywidgets."""

from __future__ import annotations

from diffedu.show.widgets.picture import MovingFigure, Picture
from diffedu.show.widgets.schedule import Exploration, ScheduleExplorer, explore, log_snr_betas

__all__ = ["Exploration", "MovingFigure", "Picture", "ScheduleExplorer", "explore", "log_snr_betas"]
