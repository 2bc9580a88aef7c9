"""Networks. They know no diffusion: images or points, a number and a label in; a prediction out."""

from diffedu.nn.classifier import DigitClassifier
from diffedu.nn.embed import FourierTime
from diffedu.nn.mlp import MLP
from diffedu.nn.unet import ResBlock, SelfAttention, UNet, UNetConfig

__all__ = ["MLP", "DigitClassifier", "FourierTime", "ResBlock", "SelfAttention", "UNet", "UNetConfig"]
