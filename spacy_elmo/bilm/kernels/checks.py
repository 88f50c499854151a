"""What arrays must be like before a kernel is given their addresses."""

from typing import Any, Mapping, Tuple


def check_lanes(lanes: int, widest: int) -> None:
    """Raises ValueError unless this processor has vectors of so many floats."""
    if lanes not in (8, 16) or lanes > widest:
        raise ValueError(
            f"Expected weights laid out for this processor's vectors, of {widest} "
            f"floats or fewer, found them for vectors of {lanes} floats."
        )


def check_shapes(arrays: Mapping[str, Tuple[Any, Tuple[int, ...]]]) -> None:
    """arrays: each with the shape that is expected of it, by name.

    Raises ValueError where one is missing or has another shape.
    """
    for name, (array, expected) in arrays.items():
        # The shape of a memoryview has eight dimensions.
        found = None if array is None else tuple(array.shape)[: len(expected)]
        if found != expected:
            raise ValueError(f"{name}: expected the shape {expected}, found {found}.")


def check_multiple(name: str, number: int, lanes: int) -> None:
    """Raises ValueError unless so many columns fill panels."""
    if number < 1 or number % (4 * lanes):
        raise ValueError(
            f"{name}: expected a multiple of {4 * lanes} columns, found {number}."
        )
