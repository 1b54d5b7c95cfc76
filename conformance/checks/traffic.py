"""OFT and OTT: UE traffic through and past the app, judged from ``flow`` events and the captures of the user plane.

Which flows a situation has to hold, by their fields (names are free):
- OFT-001, 003, 004: origin ``ue``, to servers that the rules select (conformance.rules.analysis.plan_flows), while not
  bypassed; for OFT-004 each of the profile's sizes over UDP, a stream of the profile's length over TCP. Flows to the
  same servers in the situation ``control`` say whether a failure is the app's.
- OFT-002, OTT-006 (control): origin ``ue``, to servers that nothing selects.
- OFT-008: flows that rules select, some while bypassed and some while not, none across a switch.
- OTT-002: origin ``ue``, to each service at the app's address; OTT-003: the same from ``internet`` or ``outside``.
- OTT-001: ``dns-query`` events of type A for each FQDN.
"""

from collections.abc import Callable, Mapping

from conformance.checks import offload, serving, untouched
from conformance.profile import Profile
from conformance.trace import Trace
from conformance.verdict import Outcome

CHECKS: Mapping[str, Callable[[Trace, Profile], Outcome]] = {
    "OFT-001": offload.passes_selected_flows,
    "OFT-002": untouched.leaves_unselected_alone,
    "OFT-003": offload.keeps_addresses,
    "OFT-004": offload.preserves_packets,
    "OFT-008": untouched.bypasses_when_down,
    "OTT-001": serving.resolves_names,
    "OTT-002": serving.serves_ues,
    "OTT-003": serving.serves_outside,
    "OTT-006": untouched.leaves_other_addresses_alone,
}
