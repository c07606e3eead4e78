"""The yardstick: a bare gRPC server that answers every call with nothing, to tell our cost from gRPC's.

``python bench/echo.py SOCKET``, run by the node-driver's interpreter.
"""

from __future__ import annotations

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc


class _Anything(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    def service(self, _details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(lambda _request, _context: b"")


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(16), handlers=[_Anything()])
    server.add_insecure_port(f"unix://{sys.argv[1]}")
    server.start()
    threading.Event().wait()
