"""The least that an acknowledged write over gRPC can cost: an echo on grpc.aio and one committed insert into SQLite.

    .venv/bin/python -m tests.bench.bare_echo DATABASE

Prints its port. What the server of a job does beside that is what the benchmark measures.
"""

import asyncio
import sqlite3
import sys
from typing import Any, Final

import grpc

METHOD: Final = "/bench.Bare/Echo"


async def main(path: str) -> None:
    """Serves until it is killed."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE echoes (id INTEGER PRIMARY KEY, body BLOB)")

    async def echo(request: bytes, context: Any) -> bytes:
        with connection:
            connection.execute("INSERT INTO echoes (body) VALUES (?)", (request,))
        return request

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Bare", {"Echo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
