"""Whether conditions on several fields can hold together: exact, by boxes.

A *box* is a set of regions for each field, the bits of a number (which values a region stands for is `regions`' to
say). A condition is such a set of one field. Each step narrows the box by what every way on has in common, takes out
what is decided inside it, and tries the alternatives of the narrowest choice that is left, one without the other: the
boxes that are tried never meet, so there are never more of them than values to be told apart.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

VALUES_MAX = 300_000  # what one analysis may look at, some tenths of a second; rules that people write take hundreds
_BITS_A_VALUE = 4096  # a condition of more regions counts for as many values as it has of these

Box = tuple[int, ...]  # regions of each field, by the field's number
Condition = tuple[int, int]  # a field's number and the regions in which it may lie


class Undecided(Exception):
    """The expression is too intricate to be analysed: nothing is known about it."""


class Budget:
    """What an analysis may still cost, in conditions looked at; several questions may share one."""

    def __init__(self, left: int = VALUES_MAX) -> None:
        self.left = left

    def spend(self, values: int) -> None:
        """Raises Undecided when nothing is left."""
        self.left -= values
        if self.left < 0:
            raise Undecided


class Every(NamedTuple):
    """All hold: a condition a field at most, none of them empty, and choices."""

    conditions: tuple[Condition, ...] = ()
    choices: tuple["Some", ...] = ()


class Some(NamedTuple):
    """One holds: a condition a field at most, none of them empty, or an alternative."""

    conditions: tuple[Condition, ...] = ()
    alternatives: tuple[Every, ...] = ()


Node = Every | Some
ALWAYS, NEVER = Every(), Some()


def every(nodes: Iterable[Node]) -> Node:
    """Holds where all nodes do."""
    conditions: dict[int, int] = {}
    choices: list[Some] = []
    for node in nodes:
        if isinstance(node, Some):
            if not any(node):
                return NEVER
            choices.append(node)
            continue
        choices += node.choices
        for field, regions in node.conditions:
            conditions[field] = regions & conditions.get(field, regions)
            if not conditions[field]:
                return NEVER
    return choices[0] if len(choices) == 1 and not conditions else Every(tuple(conditions.items()), tuple(choices))


def some(nodes: Iterable[Node]) -> Node:
    """Holds where one of the nodes does."""
    conditions: dict[int, int] = {}
    alternatives: list[Every] = []
    for node in nodes:
        if isinstance(node, Every) and (node.choices or len(node.conditions) != 1):
            if not any(node):
                return ALWAYS
            alternatives.append(node)
            continue
        for field, regions in node.conditions:
            conditions[field] = regions | conditions.get(field, 0)
        if isinstance(node, Some):
            alternatives += node.alternatives
    whole = Some(tuple(conditions.items()), tuple(alternatives))
    return next(_options(whole)) if _width(whole) == 1 else whole


def find_box(whole: Box, nodes: Iterable[Node], usual: Box, budget: Budget) -> Box | None:
    """A box inside the whole, everywhere in which all nodes hold; None when there is none. Raises Undecided.

    Of several ways those are tried first that leave usual regions in.
    """
    return _Search(usual, budget, max(map(int.bit_length, whole))).run(whole, every(nodes))


class _State(NamedTuple):
    """A box and the choices that are open in it; those that are settled had their look at just this box."""

    box: list[int]
    settled: list[Some]
    fresh: list[Some]


class _Search:
    """Depth first, with a stack of its own: hostile rules leave more choices open than Python nests calls."""

    def __init__(self, usual: Box, budget: Budget, bits: int) -> None:
        self._usual = usual
        self._budget = budget
        self._cost = 1 + bits // _BITS_A_VALUE

    def run(self, whole: Box, node: Node) -> Box | None:
        """See find_box."""
        inside, choices = [*whole], node.choices if isinstance(node, Every) else (node,)
        for field, regions in node.conditions if isinstance(node, Every) else ():
            inside[field] &= regions
        open_ = [_State(inside, [], [*choices])]
        while open_:
            state = open_.pop()
            point = self._point(state.box)
            if self._all_hold((*state.fresh, *state.settled), point):
                return point
            left = self._narrow(state)
            if left:
                open_ += self._ways(state.box, left)
            elif left is not None:
                return self._point(state.box)
        return None

    def _point(self, box: Sequence[int]) -> Box:
        """One region of each field of a box: the first usual one, else the first."""
        return tuple(_lowest(regions & usual or regions) for regions, usual in zip(box, self._usual, strict=True))

    def _all_hold(self, choices: Sequence[Some], point: Box) -> bool:
        for conditions, alternatives in choices:
            self._budget.spend(self._cost * (1 + len(alternatives)))
            for field, regions in conditions:
                if regions & point[field]:
                    break
            else:
                if not any(self._holds(alternative, point) for alternative in alternatives):
                    return False
        return True

    def _holds(self, every: Every, point: Box) -> bool:
        for field, regions in every.conditions:
            if not regions & point[field]:
                return False
        return not every.choices or self._all_hold(every.choices, point)

    def _narrow(self, state: "_State") -> list[Some] | None:
        """Narrow the box by all that has one way left; the choices that remain, None where one has no way at all."""
        settled, fresh = state.settled, state.fresh
        while fresh:
            before, stale = [*state.box], list[Some]()
            left = self._decided(state.box, fresh, stale)
            if left is None:
                return None
            settled, fresh = (settled + left, stale) if state.box == before else (left, settled + stale)
        return settled

    def _decided(self, box: list[int], choices: Sequence[Some], stale: list[Some]) -> list[Some] | None:
        """The same, each choice looked at once; stale gets those after which the box became narrower."""
        open_, left = [*choices], list[Some]()
        for choice in open_:
            rest = self._some(choice, box)
            if rest is False:
                return None
            if rest is True:
                continue
            if _width(rest) > 1:
                left.append(rest)
                continue
            conditions, more = next(_options(rest))
            for field, regions in conditions:
                box[field] = regions
            open_ += more
            stale += left
            left.clear()
        return left

    def _ways(self, box: list[int], choices: list[Some]) -> tuple["_State", "_State"]:
        """What is open without one option of the narrowest choice, and what with it, which comes first."""
        self._budget.spend(len(choices))
        choice = min(choices, key=_width)
        option = next(filter(self._is_usual, _options(choice)), None) or next(_options(choice))
        rest, inside = [one for one in choices if one is not choice], box.copy()
        for field, regions in option.conditions:
            inside[field] = regions
        others = [_without(choice, option)]
        if not option.choices:
            others.append(Some(tuple((field, box[field] & ~regions) for field, regions in option.conditions)))
        return _State(box, rest, others), _State(inside, [], [*option.choices, *rest])

    def _is_usual(self, option: Every) -> bool:
        return all(regions & self._usual[field] for field, regions in option.conditions)

    def _some(self, some: Some, box: Sequence[int]) -> Some | bool:
        """What is left of a choice inside a box."""
        self._budget.spend(self._cost * (1 + len(some.conditions) + 2 * len(some.alternatives)))
        conditions: dict[int, int] = {}
        alternatives = list[Every]()
        for field, regions in some.conditions:
            conditions[field] = regions & box[field]
        for alternative in some.alternatives:
            rest = self._every(alternative, box)
            if rest is True:
                return True
            if rest is False:
                continue
            if rest.choices or len(rest.conditions) > 1:
                alternatives.append(rest)
                continue
            field, regions = rest.conditions[0]
            conditions[field] = regions | conditions.get(field, 0)
        if any(regions == box[field] for field, regions in conditions.items()):
            return True
        left = tuple(one for one in conditions.items() if one[1])
        return Some(left, tuple(alternatives)) if left or alternatives else False

    def _every(self, every: Every, box: Sequence[int]) -> Every | bool:
        """What is left of an alternative inside a box."""
        self._budget.spend(self._cost * len(every.conditions))
        conditions = list[Condition]()
        for field, regions in every.conditions:
            inside = regions & box[field]
            if not inside:
                return False
            if inside != box[field]:
                conditions.append((field, inside))
        if every.choices:
            return self._chosen(conditions, every.choices, box)
        return Every(tuple(conditions)) if conditions else True

    def _chosen(self, conditions: Sequence[Condition], choices: Sequence[Some], box: Sequence[int]) -> Every | bool:
        """The same of one that has choices, its conditions being known: they narrow the box for those."""
        inside, stale = [*box], list[Some]()
        for field, regions in conditions:
            inside[field] = regions
        left = self._decided(inside, choices, stale)
        if left is None:
            return False
        narrowed = tuple((field, inside[field]) for field in range(len(inside)) if inside[field] != box[field])
        return Every(narrowed, (*left, *stale)) if narrowed or left or stale else True


def _width(choice: Some) -> int:
    return len(choice.conditions) + len(choice.alternatives)


def _options(choice: Some) -> Iterator[Every]:
    yield from (Every((one,)) for one in choice.conditions)
    yield from choice.alternatives


def _without(choice: Some, option: Every) -> Some:
    conditions = (one for one in choice.conditions if option != Every((one,)))
    return Some(tuple(conditions), tuple(one for one in choice.alternatives if one is not option))


def _lowest(regions: int) -> int:
    return regions & -regions
