"""The part of an operation that a backend implements: declared, or found by a few calls."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from toise.inputs import USUAL

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from toise.inputs import Recipe


@dataclass(frozen=True)
class Domain:
    """The calls that a backend implements: the ranks of its first array, and the lengths of its axes.

    Empty means any.  A length may be given as the name of another axis that it must equal.
    """

    rank: tuple[int, ...] = ()
    sizes: Mapping[str, tuple[int, ...] | str] = field(default_factory=dict)

    def fit(self, recipe: Recipe) -> Recipe:
        """Return the recipe moved into the domain: leading axes reshaped, lengths changed to the nearest allowed."""
        changes: dict[str, Any] = {}
        if self.rank and recipe.rank not in self.rank:
            rank = min(self.rank, key=lambda rank: (abs(rank - recipe.rank), -rank))
            axes = rank - recipe.inner
            lead = recipe.lead if axes > len(recipe.lead) else (prod(recipe.lead),)
            changes["lead"] = () if axes == 0 else (1,) * (axes - len(lead)) + lead
        for name in recipe.sizes:
            rule = self.sizes.get(name, ())
            if rule and not isinstance(rule, str):
                size = getattr(recipe, name)
                changes[name] = min(rule, key=lambda allowed, size=size: (abs(allowed - size), allowed))  # type: ignore[misc]
        for name, rule in self.sizes.items():
            if isinstance(rule, str):
                changes[name] = changes.get(rule, getattr(recipe, rule))
        changes = {name: value for name, value in changes.items() if getattr(recipe, name) != value}
        return dataclasses.replace(recipe, **changes) if changes else recipe

    def holds(self, rank: int, sizes: Mapping[str, int]) -> bool:
        """Tell whether a call with these lengths lies inside; laws make calls of their own from a recipe's."""
        if self.rank and rank not in self.rank:
            return False
        return all(
            sizes[name] == sizes[rule] if isinstance(rule, str) else sizes[name] in rule for name, rule in self.sizes.items()
        )

    def __str__(self) -> str:
        sizes = [
            f"{name} = {rule if isinstance(rule, str) else ' or '.join(map(str, rule))}" for name, rule in self.sizes.items()
        ]
        return ", ".join(([f"rank {' or '.join(map(str, self.rank))}"] if self.rank else []) + sizes)


LEADS = ((), (3,), (1, 3), (2, 1, 3))
ODD, BLOCK = 3, 128


def probed_domain(operation: str, implements: Callable[[Recipe], bool]) -> Domain:
    """Return the domain of a backend that declares none and refuses calls: vary one thing at a time.

    A backend that refuses even the usual call has no domain that could be found here.
    """
    usual = USUAL[operation]

    def with_sizes(**sizes: Any) -> bool:
        return implements(dataclasses.replace(usual, **sizes))

    if not implements(usual):
        return Domain()
    ranks = {usual.rank} | {len(lead) + usual.inner for lead in LEADS if implements(dataclasses.replace(usual, lead=lead))}
    sizes: dict[str, tuple[int, ...] | str] = {}
    followers = {follower for follower, _ in usual.tied}
    for leader in (name for name in usual.sizes if name not in followers):
        together = [leader, *(follower for follower, leads in usual.tied if leads == leader)]
        usual_size = getattr(usual, leader)
        if not with_sizes(**dict.fromkeys(together, ODD)):
            more = (BLOCK,) if with_sizes(**dict.fromkeys(together, BLOCK)) else ()
            sizes |= dict.fromkeys(together, (usual_size, *more))
    for follower, leader in usual.tied:
        other = BLOCK if BLOCK in sizes.get(leader, (BLOCK,)) else ODD
        if (isinstance(sizes.get(leader), tuple) and len(sizes[leader]) == 1) or not with_sizes(**{follower: other}):
            sizes[follower] = leader
    return Domain(rank=() if len(ranks) == len(LEADS) else tuple(sorted(ranks)), sizes=sizes)
