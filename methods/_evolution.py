"""Evolution over sequences of choices: pure, seeded, and with an elite that is never lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Genome = tuple[int, ...]
TRIES = 20
"""Draws for one new genome before the search takes it that there are no others."""


@dataclass(frozen=True)
class Evolved:
    """The best genome with its score, and the best score after each generation (the first is the start's)."""

    best: Genome
    score: float
    history: tuple[float, ...]
    scored: int
    """Genomes that were scored; none twice."""


@dataclass(frozen=True)
class Plan:
    """How long and with how many: `parents` best of all so far breed `mutants` and `crossovers` in each generation."""

    population: int = 20
    generations: int = 30
    parents: int = 15
    mutants: int = 10
    crossovers: int = 10
    mutation: float = 0.1


def evolve(
    choices: Sequence[int],
    score: Callable[[Genome], float],
    rng: np.random.Generator,
    plan: Plan,
    repair: Callable[[Genome], Genome] = lambda genome: genome,
) -> Evolved:
    """Return the genome of largest score that was found; gene i is one of 0..choices[i]-1.

    Every new genome passes `repair` before it is scored (it may be made to fit a limit), and is scored once. The
    parents of a generation are the best of everything scored so far: the best can never be lost.
    """
    scores: dict[Genome, float] = {}

    def add(draw: Callable[[], Genome], count: int) -> None:
        for _ in range(count):
            for _ in range(TRIES):
                genome = repair(draw())
                if genome not in scores:
                    scores[genome] = score(genome)
                    break

    def leaders() -> list[Genome]:
        # `sorted` is stable: of equal scores the one found first.
        return sorted(scores, key=lambda genome: -scores[genome])[: plan.parents]

    add(lambda: tuple(int(rng.integers(n)) for n in choices), plan.population)
    history = [max(scores.values())]
    for _ in range(plan.generations):
        parents = leaders()
        add(lambda: mutate(_any(parents, rng), choices, plan.mutation, rng), plan.mutants)  # noqa: B023
        add(lambda: cross(_any(parents, rng), _any(parents, rng), rng), plan.crossovers)  # noqa: B023
        history.append(max(scores.values()))
    best = leaders()[0]
    return Evolved(best, scores[best], tuple(history), len(scores))


def mutate(parent: Genome, choices: Sequence[int], probability: float, rng: np.random.Generator) -> Genome:
    """Return a child whose genes are drawn anew with `probability`, from all of their choices."""
    return tuple(
        int(rng.integers(n)) if rng.random() < probability else gene
        for gene, n in zip(parent, choices, strict=True)
    )


def cross(one: Genome, other: Genome, rng: np.random.Generator) -> Genome:
    """Return the first genes of `one` and the rest of `other`, at least one of each where there are two."""
    cut = int(rng.integers(1, max(len(one), 2)))
    return one[:cut] + other[cut:]


def _any(parents: Sequence[Genome], rng: np.random.Generator) -> Genome:
    return parents[int(rng.integers(len(parents)))]
