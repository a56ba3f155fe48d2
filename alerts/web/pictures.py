"""Evidence pictures over HTTP: read from the ledger, checked against the hash that was sealed."""

from __future__ import annotations

import asyncio

from litestar.exceptions import NotFoundException
from litestar.response import Response

from alerts.office import Office


async def respond(office: Office, evidence_id: str) -> Response[bytes]:
    """Return a picture of the ledger.

    Raises:
        NotFoundException: there is none of that id.
        StorageError: it is not what was sent.
    """
    found = await asyncio.to_thread(office.ledger.picture, evidence_id)
    if found is None:
        raise NotFoundException("there is no such picture")
    sha256, jpeg = found
    return Response(jpeg, media_type="image/jpeg", headers={"X-SHA256": sha256})
