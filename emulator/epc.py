"""The EPC's user plane, an S/PGW: between S1-U bearers (TS 29.281) and SGi. It changes no byte of what it carries."""

from collections import Counter
from collections.abc import Sequence

from conformance import gtpu
from emulator.datapath import Address, Run, Source, destination_address, segments, source_address
from emulator.enb import answer
from emulator.ue import Bearer

S1U, SGI = "s1u_epc", "sgi_tun"


class ServingGateway:
    """A core with the ports ``s1u_epc`` and ``sgi_tun``; address is its own on S1-U, peer is the user plane service."""

    def __init__(self, bearers: Sequence[Bearer], address: str, peer: Address) -> None:
        self.counters: Counter[str] = Counter()
        self._address = address
        self._peer = peer
        self._by_teid = {bearer.uplink_teid: bearer for bearer in bearers}
        self._by_address = {bearer.address.packed: bearer for bearer in bearers}
        self._by_address |= {bearer.address_six.packed: bearer for bearer in bearers}

    def receive(self, buffer: bytes, segment_size: int, source: Source, now: float) -> list[Run]:
        del now  # the gateway keeps no time: the signature is every element's
        runs = []
        for packet in segments(buffer, segment_size):
            run = self._uplink(packet, source) if source.port == S1U else self._from_sgi(packet)
            if run is not None:
                runs.append(run)
        return runs

    def _uplink(self, data: bytes, source: Source) -> Run | None:
        offset = gtpu.g_pdu_offset(data)
        if not offset:
            return answer(data, source, self.counters)
        teid = int.from_bytes(data[4:8])
        bearer = self._by_teid.get(teid)
        if bearer is None:
            self.counters["unknown TEID"] += 1
            data = gtpu.error_indication(teid, self._address)
            return Run(S1U, source.peer, data, len(data))
        packet = data[offset:]
        if self._by_address.get(source_address(packet)) is not bearer:
            self.counters["not the bearer's UE"] += 1
            return None
        if destination_address(packet) in self._by_address:  # from UE to UE it never leaves the gateway
            return self._from_sgi(packet)
        return Run(SGI, None, packet, len(packet))

    def _from_sgi(self, packet: bytes) -> Run | None:
        bearer = self._by_address.get(destination_address(packet))
        if bearer is None:
            self.counters["to no attached UE"] += 1
            return None
        data = gtpu.encode_g_pdu(bearer.downlink_teid, packet)
        return Run(S1U, self._peer, data, len(data))
