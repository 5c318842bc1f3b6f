"""Evolution: nobody is changed, the best is never lost, each genome is scored once and by itself."""

import numpy as np
import pytest
from nasbench_rec.methods import _evolution
from nasbench_rec.methods._evolution import Plan, cross, evolve, mutate

CHOICES = [16] * 6
TARGET = (3, 15, 0, 7, 9, 12)
SMALL = Plan(population=8, generations=12, parents=5, mutants=6, crossovers=6, mutation=0.3)


def _near(genome: tuple[int, ...]) -> float:
    return -float(sum(abs(a - b) for a, b in zip(genome, TARGET, strict=True)))


def test_the_best_is_never_lost_and_is_the_best_that_was_scored() -> None:
    scored: dict[tuple[int, ...], float] = {}

    def score(genome: tuple[int, ...]) -> float:
        assert genome not in scored, "scored twice"
        scored[genome] = _near(genome)
        return scored[genome]

    found = evolve(CHOICES, score, np.random.default_rng(0), SMALL)
    assert found.score == max(scored.values()) == scored[found.best] == _near(found.best)
    assert list(found.history) == sorted(found.history) and len(found.history) == SMALL.generations + 1
    assert found.history[-1] == found.score > found.history[0]
    assert found.scored == len(scored)


def test_parents_are_the_best_of_all_so_far_and_are_not_changed(monkeypatch) -> None:
    scores: dict[tuple[int, ...], float] = {}
    bred = []

    def score(genome: tuple[int, ...]) -> float:
        scores[genome] = _near(genome)
        return scores[genome]

    def watch(parents, rng):
        best = sorted(scores.values(), reverse=True)[: SMALL.parents]
        # Within a generation children are scored as they come; its parents stay those of its start.
        assert len(parents) == SMALL.parents and all(_near(p) == scores[p] for p in parents)
        bred.append((sum(map(_near, parents)), sum(best)))
        return parents[int(rng.integers(len(parents)))]

    monkeypatch.setattr(_evolution, "_any", watch)
    evolve(CHOICES, score, np.random.default_rng(1), SMALL)
    per_generation = SMALL.mutants + 2 * SMALL.crossovers
    assert bred[0][0] == bred[0][1]
    means = [parents for parents, _ in bred]
    assert means == sorted(means) and len(bred) >= SMALL.generations * per_generation


def test_children_of_mutation_reach_every_choice_and_leave_the_parent() -> None:
    parent, rng = (0, 0, 0), np.random.default_rng(0)
    children = [mutate(parent, [4, 4, 4], 0.5, rng) for _ in range(300)]
    assert {gene for child in children for gene in child} == {0, 1, 2, 3} and parent == (0, 0, 0)
    assert mutate(parent, [4, 4, 4], 0.0, rng) == parent
    redrawn = np.mean([mutate((0,) * 50, [1000] * 50, 0.1, rng) for _ in range(100)], axis=0) > 0
    changed = np.mean([[g != 0 for g in mutate((0,) * 50, [1000] * 50, 0.1, rng)] for _ in range(100)])
    assert redrawn.any() and changed == pytest.approx(0.1, abs=0.02)


def test_crossover_takes_something_of_both() -> None:
    one, other = (1, 1, 1, 1), (2, 2, 2, 2)
    rng = np.random.default_rng(0)
    assert {cross(one, other, rng) for _ in range(200)} == {(1, 2, 2, 2), (1, 1, 2, 2), (1, 1, 1, 2)}
    assert one == (1, 1, 1, 1) and other == (2, 2, 2, 2)
    assert cross((1,), (2,), rng) == (1,)


def test_what_is_scored_was_repaired_first() -> None:
    seen = []

    def score(genome: tuple[int, ...]) -> float:
        seen.append(genome)
        return float(sum(genome))

    def even(genome: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(g - g % 2 for g in genome)

    found = evolve(CHOICES, score, np.random.default_rng(0), SMALL, even)
    assert all(g % 2 == 0 for genome in seen for g in genome) and found.best in seen


def test_a_small_space_is_searched_whole_and_ends() -> None:
    found = evolve([2, 2], lambda g: float(g == (1, 0)), np.random.default_rng(0), Plan(population=3))
    assert found.best == (1, 0) and found.scored <= 4


def test_the_same_seed_finds_the_same() -> None:
    runs = [evolve(CHOICES, _near, np.random.default_rng(s), SMALL) for s in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]
