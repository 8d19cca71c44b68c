"""Asks a server for its health, as a container's health check does: `python -m gradloom.api.probe [HOST:PORT]`.

The address is by default that of GRADLOOM_HEALTH_LISTEN. Exits 0 when it answers SERVING, else 1 with the reason.
"""

import os
import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_SECONDS = 3.0


def health(address: str) -> str:
    """`SERVING`, `NOT_SERVING`, or why there was no answer."""
    with grpc.insecure_channel(address) as channel:
        try:
            reply = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS, wait_for_ready=True
            )
        except grpc.RpcError as error:
            return f"no answer from {address}: {error.code().name}"
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def main() -> int:
    """Prints the health and turns it into an exit code."""
    address = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("GRADLOOM_HEALTH_LISTEN", "")
    if not address:
        print("say which address: as an argument or in GRADLOOM_HEALTH_LISTEN", file=sys.stderr)
        return 1
    found = health(address)
    print(found)
    return 0 if found == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main())
