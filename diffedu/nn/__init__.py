"""Networks. They know no diffusion: images or points, a number and a label in; a prediction out."""

from diffedu.nn.classifier import ImageClassifier
from diffedu.nn.dit import DiT, DiTBlock, DiTConfig, patchify, positions, unpatchify
from diffedu.nn.embed import FourierTime
from diffedu.nn.guess import WithGuess
from diffedu.nn.mlp import MLP
from diffedu.nn.unet import ResBlock, SelfAttention, UNet, UNetConfig
from diffedu.nn.vae import VAE, VAEConfig

__all__ = [
    "MLP",
    "VAE",
    "DiT",
    "DiTBlock",
    "DiTConfig",
    "ImageClassifier",
    "FourierTime",
    "ResBlock",
    "SelfAttention",
    "UNet",
    "UNetConfig",
    "VAEConfig",
    "WithGuess",
    "patchify",
    "positions",
    "unpatchify",
]
