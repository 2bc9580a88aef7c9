"""One small file per shipped model: how it is built, trained, measured and loaded."""

from __future__ import annotations

from types import ModuleType

from diffedu._errors import unknown
from diffedu.recipes import (
    digits_classifier,
    digits_ddpm,
    digits_dit,
    digits_flow,
    digits_minutes,
    digits_objectives,
    digits_reflow,
    digits_scaling,
    emoji_classifier,
    emoji_latent,
    emoji_studies,
    emoji_vae,
)
from diffedu.recipes._files import shipped_log

RECIPES: dict[str, ModuleType] = {
    module.NAME: module
    for module in (
        digits_classifier,
        digits_ddpm,
        digits_objectives,
        digits_minutes,
        digits_flow,
        digits_dit,
        digits_reflow,
        digits_scaling,
        emoji_classifier,
        emoji_vae,
        emoji_latent,
        emoji_studies,
    )
}
"""Recipes by name. Each has NAME, SUMMARY, `run(folder, device=...)`, which trains and returns the log, and `load`."""


def recipe(name: str) -> ModuleType:
    """The recipe of a name.

    Raises:
        ValueError: unknown name; the message proposes the nearest known one.

    Example:
        >>> recipe("digits-ddpm").NAME
        'digits-ddpm'
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]


__all__ = ["RECIPES", "recipe", "shipped_log"]
