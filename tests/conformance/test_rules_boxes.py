"""conformance.rules.boxes: what the search finds is what trying every point finds, however conditions are nested."""

import itertools
from dataclasses import dataclass
from random import Random

import pytest

from conformance.rules.boxes import ALWAYS, NEVER, Budget, Every, Node, Undecided, every, find_box, some

REGIONS = 3
WHOLE = ((1 << REGIONS) - 1,) * 4
POINTS = list(itertools.product(*([1 << number for number in range(REGIONS)] for _ in WHOLE)))


@dataclass(frozen=True)
class Tree:
    """All parts hold, or one of them; a leaf is a field and regions."""

    all: bool
    parts: "tuple[Tree | tuple[int, int], ...]"


def grown(chance: Random, levels: int, everything: bool) -> Tree | tuple[int, int]:
    """All of and one of in turns, so that conditions of the same fields meet over and over."""
    if not levels or chance.random() < 0.2:
        return chance.randrange(len(WHOLE)), chance.choice((1, 2, 4, 3, 5, 6))
    count = chance.randint(2, 6) if everything else chance.randint(2, 3)
    return Tree(everything, tuple(grown(chance, levels - 1, not everything) for _ in range(count)))


def node(tree: Tree | tuple[int, int]) -> Node:
    if isinstance(tree, Tree):
        return (every if tree.all else some)([node(part) for part in tree.parts])
    return Every((tree,)) if tree[1] else NEVER


def holds(tree: Tree | tuple[int, int], point: tuple[int, ...]) -> bool:
    if isinstance(tree, Tree):
        return (all if tree.all else any)(holds(part, point) for part in tree.parts)
    return bool(tree[1] & point[tree[0]])


@pytest.mark.parametrize("levels", [2, 3, 4])
def test_the_search_finds_what_trying_every_point_finds(levels: int) -> None:
    there = 0
    for seed in range(2000):
        chance = Random(seed)
        trees = [grown(chance, levels, everything) for everything in (True, False, True)]
        usual = chance.choice(POINTS)
        wanted = [point for point in POINTS if all(holds(tree, point) for tree in trees)]
        box = find_box(WHOLE, map(node, trees), usual, Budget())
        assert (box is not None) is bool(wanted)
        if box is not None:
            inside = [point for point in POINTS if all(map(int.__and__, point, box))]
            assert inside and set(inside) <= set(wanted)
        there += bool(wanted)
    assert 200 < there < 1800  # both answers are asked for


def test_what_always_and_never_holds() -> None:
    one = Every(((0, 1),))
    assert find_box(WHOLE, [ALWAYS], WHOLE, Budget()) is not None
    assert find_box(WHOLE, [NEVER], WHOLE, Budget()) is None
    assert every([ALWAYS, one]) == some([NEVER, one]) == one
    assert some([ALWAYS, one]) is ALWAYS
    assert every([NEVER, one]) is NEVER


def test_a_usual_point_is_preferred() -> None:
    nodes = [some([Every(((0, 1), (1, 1))), Every(((0, 2), (1, 2))), Every(((0, 4), (1, 4)))])]
    for usual in POINTS:
        if usual[0] == usual[1]:
            assert find_box(WHOLE, nodes, usual, Budget()) == usual


def test_nothing_is_said_beyond_the_budget() -> None:
    with pytest.raises(Undecided):
        find_box(WHOLE, [some([Every(((0, 1), (1, 2))), Every(((2, 1), (3, 2)))])], WHOLE, Budget(1))
