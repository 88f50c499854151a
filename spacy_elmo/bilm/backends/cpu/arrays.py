"""What arrays must be like before a kernel is given their addresses."""

from typing import Any, Mapping, Tuple

import numpy as np

LOW_LANES = 32
"""Numbers of a vector of bfloat16, by which the instructions for them have a name."""


def check_lanes(lanes: int, widest: int) -> None:
    """Raises ValueError unless this processor has vectors of so many floats."""
    if lanes not in (8, 16) or lanes > widest:
        raise ValueError(
            f"Expected weights laid out for this processor's vectors, of {widest} "
            f"floats or fewer, found them for vectors of {lanes} floats."
        )


def check_shapes(arrays: Mapping[str, Tuple[Any, Tuple[int, ...]]]) -> None:
    """arrays: each with the shape that is expected of it, by name, or its first
        dimensions.

    Raises ValueError where one is missing or has another shape.
    """
    for name, (array, expected) in arrays.items():
        found = None if array is None else tuple(array.shape)[: len(expected)]
        if found != expected:
            raise ValueError(f"{name}: expected the shape {expected}, found {found}.")


def check_multiple(name: str, number: int, lanes: int) -> None:
    """Raises ValueError unless so many columns fill panels."""
    if number < 1 or number % (4 * lanes):
        raise ValueError(
            f"{name}: expected a multiple of {4 * lanes} columns, found {number}."
        )


def lanes_of(panels: Any, widest: int, has_bfloat16: bool) -> int:
    """The instructions for panels of this dtype and width.

    panels: (number, n_in, columns) in float32, or (number, n_in / 2, columns, 2), the
        bits of bfloat16 in int16.

    Raises ValueError where this processor has none.
    """
    if panels.dtype == np.int16 and panels.ndim == 4:
        if not has_bfloat16 or panels.shape[2] != 64:
            raise ValueError(
                "Expected panels of float32 numbers, or on a processor with "
                "AVX512-BF16 panels of 64 columns of bfloat16, found the latter with "
                f"{panels.shape[2]} columns."
            )
        return LOW_LANES
    lanes = panels.shape[2] // 4 if panels.ndim == 3 else 0
    check_lanes(lanes, widest)
    return lanes


def address_of_panels(
    name: str, panels: Any, n_in: int, n_out: int, lanes: int, writable: bool = False
) -> int:
    """Where panels lie that multiply n_in numbers to n_out ones.

    Raises ValueError where they are others than those, or may not be written to.
    """
    low = lanes == LOW_LANES
    columns = 64 if low else 4 * lanes
    if n_out % columns or (low and n_in % 2):
        raise ValueError(
            f"{name}: expected a multiple of {columns} columns, in bfloat16 of an even "
            f"number of rows, found {n_out} columns of {n_in}."
        )
    n_panels = n_out // columns
    shape = (n_panels, n_in // 2, columns, 2) if low else (n_panels, n_in, columns)
    return _address(name, panels, shape, lanes, writable)


def address_of_rows(
    name: str, rows: Any, shape: Tuple[int, int], lanes: int, writable: bool = False
) -> int:
    """Where rows of the numbers lie that these instructions multiply: float32, or the
    bits of bfloat16 in int16.

    Raises ValueError where they are others, or may not be written to.
    """
    return _address(name, rows, shape, lanes, writable)


def _address(
    name: str, array: Any, shape: Tuple[int, ...], lanes: int, writable: bool = False
) -> int:
    dtype = np.dtype(np.int16 if lanes == LOW_LANES else np.float32)
    if array is None or array.shape != shape or array.dtype != dtype:
        found = None if array is None else f"{array.shape} of {array.dtype}"
        raise ValueError(
            f"{name}: expected the shape {shape} of {dtype}, found {found}."
        )
    if not array.flags.c_contiguous or (writable and not array.flags.writeable):
        raise ValueError(
            f"{name}: expected a contiguous, writable array, found another."
        )
    return int(array.ctypes.data)
