"""Places for the labels of points, so that they cover little and each other not at all where possible."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

DISTANCES = (7.5, 12.0, 20.0, 30.0, 42.0, 56.0, 72.0, 90.0)
DIRECTIONS = 16
COST_OF_OBSTACLE, COST_OF_CROSSING, COST_OF_LABEL, COST_OF_EDGE = 60.0, 20.0, 500.0, 2_000.0
"""What it costs to cover a mark, to draw a leader over one, to cover a label and to leave the frame."""
LEADER_STEP = 2.5


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
        placed[i] = _Crowd.of(obstacles, list(placed.values()), frame).best(spots[i], sizes[i])
    return [placed[i] for i in range(len(spots))]


@dataclass(frozen=True)
class _Crowd:
    """What a label has to keep clear of: rectangles [n, 4], left, bottom, right, top."""

    obstacles: np.ndarray
    labels: np.ndarray
    frame: Box

    @classmethod
    def of(cls, obstacles: Sequence[Box], labels: Sequence[Box], frame: Box) -> _Crowd:
        """Return the crowd of some boxes."""
        return cls(_sides(obstacles), _sides(labels), frame)

    def best(self, spot: tuple[float, float], size: tuple[float, float]) -> Box:
        """Return the cheapest box around `spot`."""
        chosen, least = Box(*spot, *spot), math.inf
        for distance, box in _around(spot, size):
            cost = distance + self._covered(box)
            if cost < least:  # crossings are slow to count, and only add
                cost += COST_OF_CROSSING * self._crossings(spot, box.nearest(*spot))
            if cost < least:
                chosen, least = box, cost
        return chosen

    def _covered(self, box: Box) -> float:
        marks, texts = _shared(self.obstacles, box), _shared(self.labels, box)
        covered = (
            COST_OF_OBSTACLE * len(marks) + COST_OF_LABEL * len(texts) + float(marks.sum() + texts.sum())
        )
        return covered + (0.0 if self.frame.holds(box) else COST_OF_EDGE)

    def _crossings(self, spot: tuple[float, float], end: tuple[float, float]) -> int:
        """Count the marks and labels on the way from a spot to its label, the spot's own mark left out."""
        length = math.dist(spot, end)
        steps = np.array([LEADER_STEP * i / length for i in range(2, int(length / LEADER_STEP) + 1)])
        x, y = (start + steps * (stop - start) for start, stop in zip(spot, end, strict=True))
        return sum(
            int(((s[:, :1] <= x) & (x <= s[:, 2:3]) & (s[:, 1:2] <= y) & (y <= s[:, 3:])).any(axis=1).sum())
            for s in (self.obstacles, self.labels)
        )


def _sides(boxes: Sequence[Box]) -> np.ndarray:
    return np.array([(b.left, b.bottom, b.right, b.top) for b in boxes], dtype=float).reshape(-1, 4)


def _shared(sides: np.ndarray, box: Box) -> np.ndarray:
    """Return the areas that a box shares with those rectangles that it overlaps."""
    width = np.minimum(sides[:, 2], box.right) - np.maximum(sides[:, 0], box.left)
    height = np.minimum(sides[:, 3], box.top) - np.maximum(sides[:, 1], box.bottom)
    return (width * height)[(width > 0) & (height > 0)]


def _around(spot: tuple[float, float], size: tuple[float, float]) -> Iterator[tuple[float, Box]]:
    """Iterate over boxes around a spot and their distances, the nearest and those to the right first."""
    for distance in DISTANCES:
        for step in range(DIRECTIONS):
            angle = 2 * math.pi * step / DIRECTIONS
            x, y = spot[0] + distance * math.cos(angle), spot[1] + distance * math.sin(angle)
            left = x - size[0] * (0.5 - 0.5 * max(-1.0, min(1.0, 3 * math.cos(angle))))
            yield distance, Box(left, y - size[1] / 2, left + size[0], y + size[1] / 2)
