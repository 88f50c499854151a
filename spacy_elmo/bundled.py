"""Where the weights are that ship with the package."""

from pathlib import Path

BUNDLED = Path(__file__).parent / "weights"
