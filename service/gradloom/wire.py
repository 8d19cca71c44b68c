"""What both ends of the wire keep to, beside the messages."""

from typing import Final

from gradloom.errors import refusal

DOMAIN: Final = "gradloom.dev"
"""Of the reasons in ErrorInfo."""
DETAILS_KEY: Final = "grpc-status-details-bin"
"""Of the trailer that holds the details of a status."""
MOST_REQUEST_BYTES: Final = 4 << 20
"""Over the 1 MiB of a spec, so that a spec somewhat too large is told its limit by its field."""


def refuse_too_large(size_bytes: int) -> None:
    """Raises InvalidRequestError for the size of a request that is over the limit."""
    if size_bytes > MOST_REQUEST_BYTES:
        told = f"must be at most {MOST_REQUEST_BYTES:,} bytes; got {size_bytes:,}"
        raise refusal("request", told)
