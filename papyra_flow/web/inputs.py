"""What a request brings, taken apart: each refusal is one sentence with a status, never a failure of the page.

Bodies are bounded while they arrive.
"""

from __future__ import annotations

import re

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_BODY_BYTES = 1024 * 1024
"""Some 30,000 ids."""

PASSED_OVER_BYTES = 16 * MAX_BODY_BYTES
"""How much of a body that is too long is read, and kept nowhere: to a client that still sends, a closed connection is a
failure, and no answer."""

_ID = re.compile(r"\d{1,20}(-\d{1,20})?", re.ASCII)


def entry_id(text: str) -> str:
    """An entry's id; raises HTTPException for what is none."""
    if not _ID.fullmatch(text):
        raise HTTPException(400, f"expected an id such as 1700000000000-0, not {text[:60]!r}")
    return text


async def ids(request: Request) -> list[str]:
    """The ids in the body `{"ids": [...]}`; raises HTTPException for any other body."""
    try:
        document = orjson.loads(await _body(request))
    except orjson.JSONDecodeError as exc:
        raise HTTPException(400, f"the body is not JSON: {exc}") from None
    found = document.get("ids") if isinstance(document, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise HTTPException(400, 'expected a body such as {"ids": ["1700000000000-0"]}')
    return [entry_id(one) for one in found]


async def _body(request: Request) -> bytes:
    body, size = bytearray(), 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            body += chunk
        elif size > PASSED_OVER_BYTES:
            break
    if size > MAX_BODY_BYTES:
        raise HTTPException(413, f"the body has more than {MAX_BODY_BYTES:,} bytes")
    return bytes(body)
