"""Build hook: the wheel carries data/ as diffedu/_assets, so that it is found without a clone."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WheelData(BuildHookInterface):  # type: ignore[type-arg]
    """Adds data/ to real wheels only: an editable install reads the clone's, and would hold a stale copy."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "standard":
            build_data["force_include"]["data"] = "diffedu/_assets"
