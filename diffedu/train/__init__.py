"""Training: a loop that yields, an average of the weights, checkpoints that resume."""

from diffedu.train.checkpoint import load_state, load_tensors, load_weights, save_state, save_tensors
from diffedu.train.ema import EMA
from diffedu.train.loop import Progress, TrainConfig, TrainState, batch_indices, train

__all__ = [
    "EMA",
    "Progress",
    "TrainConfig",
    "TrainState",
    "batch_indices",
    "load_state",
    "load_tensors",
    "load_weights",
    "save_state",
    "save_tensors",
    "train",
]
