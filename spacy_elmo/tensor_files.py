"""Tensors in safetensors files, written with the errors of other files."""

import os
import re
from pathlib import Path
from typing import Mapping

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from .files import replace_file


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors, of any device, to a file, atomically.

    RAISES: OSError if the disk is full or cannot be written.
    """
    on_cpu = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    with replace_file(path) as part:
        try:
            save_file(on_cpu, str(part))
        except SafetensorError as error:
            # The library is written in Rust: "No space left on device (os error 28)".
            number = re.search(r"os error (\d+)", str(error))
            if number is None:
                raise OSError(f"{path}: {error}") from error
            code = int(number[1])
            raise OSError(code, os.strerror(code)) from error
