"""Names of the settings in a nested config."""

from __future__ import annotations

from typing import Any


def setting_names(section: dict[str, Any], prefix: str = "") -> list[str]:
    names: list[str] = []
    for key, value in section.items():
        path = f"{prefix}{key}"
        is_section = isinstance(value, dict)
        names += setting_names(value, f"{path}.") if is_section else [path]
    return names
