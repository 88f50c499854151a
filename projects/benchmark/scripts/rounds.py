"""Rounds of measurements, and what they come to."""

import statistics
from typing import Any, Dict, Mapping, Sequence

Summary = Dict[str, Any]
Round = Mapping[str, float]


def summarise(values: Sequence[float]) -> Summary:
    """Median and spread, and the values themselves, a round each."""
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": list(values),
    }


def summarise_all(rounds: Sequence[Round]) -> Dict[str, Summary]:
    """Of each figure that every round has.

    Raises ValueError where rounds have different figures.
    """
    names = list(rounds[0])
    for number, one in enumerate(rounds):
        if list(one) != names:
            raise ValueError(f"Round {number}: expected {names}, found {list(one)}.")
    return {name: summarise([one[name] for one in rounds]) for name in names}


def ratios(
    rounds: Sequence[Round], ours: Sequence[str], peers: Sequence[str]
) -> Dict[str, Dict[str, Summary]]:
    """Of each of ours to each of the peers', formed in each round: what the machine did
    to one in a minute, it did to the other.

    RETURNS: by peer, then by ours.
    """
    return {
        peer: {
            mine: summarise([one[mine] / one[peer] for one in rounds]) for mine in ours
        }
        for peer in peers
    }
