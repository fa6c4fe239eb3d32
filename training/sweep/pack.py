"""Which runs can share an ensemble: equal in all but seed, learning rate, weight decay, clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from training.config import Spec, canonical, with_overrides


def packed(specs: Sequence[Spec], most: int, cost: Callable[[Spec], float]) -> list[list[Spec]]:
    """Groups of at most `most` specs of equal shape, the costliest group first.

    Examples
    --------
    >>> from training.config import Optimiser
    >>> one, two = Spec(seed=1), Spec(optimiser=Optimiser(learning_rate=1e-3))
    >>> [len(group) for group in packed([one, two, Spec(tokens=4096)], 8, lambda spec: spec.tokens)]
    [2, 1]
    """
    alike: dict[str, list[Spec]] = {}
    for spec in specs:
        alike.setdefault(pack_key(spec), []).append(spec)
    groups = [
        group[start : start + most]
        for group in alike.values()
        for start in range(0, len(group), most)
    ]
    return sorted(groups, key=lambda group: -sum(cost(spec) for spec in group))


def pack_key(spec: Spec) -> str:
    """Text that two specs share exactly if they may train in one ensemble."""
    free = ("optimiser.learning_rate", "optimiser.weight_decay", "optimiser.clip")
    return canonical(with_overrides(spec, {"seed": 0, **dict.fromkeys(free, 1.0)}))
