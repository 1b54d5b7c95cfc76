"""What may be said of offload rules, whoever says it."""

from dataclasses import dataclass
from typing import Literal

from conformance.rules.expression import Comparison
from conformance.rules.regions import Fields

Kind = Literal[
    "never matches", "IPv6 only", "matches everything", "dead part", "idle part", "ports of any protocol", "overlap",
    "asymmetric", "undecided",
]  # fmt: skip
_BROKEN: tuple[Kind, ...] = ("never matches", "IPv6 only", "matches everything")  # DSC-005
IPV4 = Comparison("ip_version", "==", 4)
_QUOTED_MAX = 60


@dataclass(frozen=True, slots=True)
class Remark:
    """Something to be said of rules; expected, seen, where and remedy as in `verdict.Finding`.

    begin and end are the part of the rule's text that it speaks of, 0 where it speaks of several rules. packet proves
    it where it says that a packet is selected, or is not.
    """

    kind: Kind
    expected: str
    seen: str
    where: str
    remedy: str
    begin: int = 0
    end: int = 0
    packet: Fields | None = None

    @property
    def broken(self) -> bool:
        """Whether a rule with it fails DSC-005; else it is suspicious only."""
        return self.kind in _BROKEN


def quoted(text: str, most: int = _QUOTED_MAX) -> str:
    """A rule's text in one line, cut where it is long."""
    plain = " ".join(text.split())
    return f"`{plain}`" if len(plain) <= most else f"`{plain[:most]}...`"


def undecided(where: str) -> Remark:
    """An analysis that was given up says so."""
    expected, remedy = "rules that can be seen through", "use fewer comparisons, or ranges and sets"
    return Remark("undecided", expected, "too large to decide: nothing is known of the rest", where, remedy)
