"""What all services of the emulator answer when a test wants them to fail."""

from collections.abc import Callable
from typing import Any

from aiohttp import web

from keyferry.testing.azure.faults import Fault


async def failing(
    request: web.Request, fault: Fault, error: Callable[[str, str], dict[str, Any]]
) -> web.StreamResponse | None:
    """The answer that a fault asks for; None if the operation is to do its work.

    Args:
        request: What is answered.
        fault: What was met.
        error: Makes the body of an error with a code and an inner code.
    """
    headers = dict(fault.headers)
    if fault.cut:
        response = web.StreamResponse(headers={"Content-Length": "100000"})
        await response.prepare(request)
        await response.write(b'{"value": "')
        assert request.transport is not None
        request.transport.abort()
        return response
    if fault.malformed:
        return web.Response(body=b"\xff{not json", content_type="application/json", status=fault.status or 200)
    if fault.body is not None:
        answer = web.json_response(fault.body, status=fault.status or 200, headers=headers)
        if fault.compressed:
            answer.enable_compression(web.ContentCoding.gzip)
        return answer
    if not fault.status:
        return None
    if fault.retry_after:
        headers["Retry-After"] = str(fault.retry_after)
    return web.json_response(error(fault.code, fault.inner), status=fault.status, headers=headers)
