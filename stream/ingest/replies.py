"""What senders are told of what was stored: exactly that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from models.messages import VERSION, Ack, Lane
from models.seqset import to_ranges
from stream.records import Said


def acks_of(parts: Iterable[Said]) -> list[tuple[str, Ack]]:
    """Return (device, acknowledgement) pairs for what was said, one for each outbox and lane."""
    seqs: defaultdict[tuple[str, str, Lane], list[int]] = defaultdict(list)
    for said in parts:
        seen, device = said.observations, said.observations[0].device_id
        names = {(one.outbox_id, one.lane) for one in seen}
        for outbox_id, lane in names:
            seqs[device, outbox_id, lane] += [
                one.seq for one in seen if len(names) == 1 or (one.outbox_id, one.lane) == (outbox_id, lane)
            ]
    return [(device, stored(outbox_id, lane, of_lane)) for (device, outbox_id, lane), of_lane in seqs.items()]


def stored(outbox_id: str, lane: str, seqs: Iterable[int]) -> Ack:
    """Return the acknowledgement of `seqs` of an outbox."""
    return Ack(v=VERSION, receiver="stream", outbox_id=outbox_id, lane=lane, stored=to_ranges(seqs))
