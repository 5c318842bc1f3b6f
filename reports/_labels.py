"""Places for the labels of points, so that they cover little and each other not at all where possible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DISTANCES = (7.5, 12.0, 20.0, 30.0, 42.0, 56.0, 72.0, 90.0)
DIRECTIONS = 16
COST_OF_OBSTACLE, COST_OF_LABEL, COST_OF_EDGE = 60.0, 500.0, 2_000.0
"""What it costs to touch a mark, another label or the frame, against 1 per unit of distance."""


@dataclass(frozen=True)
class Box:
    """A rectangle; all lengths here are of one unit."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """Return the area that both share."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def holds(self, other: Box) -> bool:
        """Return whether `other` lies inside."""
        across = self.left <= other.left and other.right <= self.right
        return across and self.bottom <= other.bottom and other.top <= self.top

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """Return the point of the rectangle nearest to (x, y)."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)


def place_labels(
    spots: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    frame: Box,
) -> list[Box]:
    """Return a box of size (width, height) by each spot: greedily, from the top, where it costs least."""
    placed: dict[int, Box] = {}
    for i in sorted(range(len(spots)), key=lambda i: (-spots[i][1], spots[i][0], i)):
        rivals = list(placed.values())
        options = (
            (distance + _cost(box, obstacles, rivals, frame), box)
            for distance, box in _around(spots[i], sizes[i])
        )
        placed[i] = min(options, key=lambda option: option[0])[1]
    return [placed[i] for i in range(len(spots))]


def _around(spot: tuple[float, float], size: tuple[float, float]) -> Iterator[tuple[float, Box]]:
    """Iterate over boxes around a spot and their distances, the nearest and those to the right first."""
    for distance in DISTANCES:
        for step in range(DIRECTIONS):
            angle = 2 * math.pi * step / DIRECTIONS
            x, y = spot[0] + distance * math.cos(angle), spot[1] + distance * math.sin(angle)
            left = x - size[0] * (0.5 - 0.5 * max(-1.0, min(1.0, 3 * math.cos(angle))))
            yield distance, Box(left, y - size[1] / 2, left + size[0], y + size[1] / 2)


def _cost(box: Box, obstacles: Sequence[Box], labels: Sequence[Box], frame: Box) -> float:
    marks = sum(COST_OF_OBSTACLE + area for area in map(box.overlap, obstacles) if area)
    texts = sum(COST_OF_LABEL + area for area in map(box.overlap, labels) if area)
    return marks + texts + (0.0 if frame.holds(box) else COST_OF_EDGE)
