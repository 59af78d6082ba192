"""What is reported of a committee: a line for each network, ensemble and cascade, and the curves of the cascades."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of the result: a single network, an ensemble, or a cascade chosen for a target; measured on `n` images.

    accuracies: of the images that left at each stage, None where none did. gain: accuracy less that of the dearest member.
    """

    kind: str
    members: tuple[str, ...]
    name: str
    target: str
    thresholds: tuple[float, ...]
    accuracy: float
    between: tuple[float, float]
    gain: float
    gain_between: tuple[float, float]
    average: float
    worst: float
    speedup: float
    shares: tuple[float, ...]
    accuracies: tuple[float | None, ...]
    chosen_accuracy: float | None


@dataclass(frozen=True)
class Result:
    """All rows, how images were divided, and the curve of each cascade over its first threshold: average cost, accuracy."""

    rows: list[Row]
    protocol: str
    confidence: str
    images: int
    curves: dict[str, tuple[list[float], list[float]]]
