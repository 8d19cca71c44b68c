"""Pages of a list: how many rows, and tokens that say where the next page begins.

A token holds the key of the last row seen (keyset paging: page 1,000 costs what page 1 costs), and a digest of the
query that it was given out for. It is opaque but no secret; what it holds is checked like any other field of a
request.
"""

import base64
import hashlib
import json
from typing import Final

from gradloom.errors import refusal

DEFAULT_PAGE_SIZE: Final = 50
MAX_PAGE_SIZE: Final = 1000
_MAX_KEY: Final = 2**63 - 1

Key = tuple[int | str, ...]
"""The place of a row in a list."""


def effective_page_size(requested: int) -> int:
    """How many rows a page has; InvalidRequestError on `page_size` when negative."""
    if requested < 0:
        raise refusal("page_size", f"must be 0 (for {DEFAULT_PAGE_SIZE}) or more; got {requested}")
    return min(requested or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def write_token(query: str, *key: int | str) -> str:
    """The token of the page that begins after the row with this key. `query` names all that the list depends on."""
    return base64.urlsafe_b64encode(json.dumps([_digest(query), *key]).encode()).decode().rstrip("=")


def read_token(token: str, query: str, key_types: tuple[type[int] | type[str], ...]) -> Key | None:
    """The key in a token, None in an empty one.

    Raises InvalidRequestError on `page_token` when it was not given out for this query.
    """
    if not token:
        return None
    key = _decoded(token, query)
    if key is None or [type(part) for part in key] != list(key_types) or not all(map(_storable, key)):
        raise refusal(
            "page_token", "must be the next_page_token of the same list, asked with the same fields; start without it"
        )
    return key


def _decoded(token: str, query: str) -> Key | None:
    try:
        content = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, list) or content[:1] != [_digest(query)]:
        return None
    return tuple(content[1:])


def _storable(part: int | str) -> bool:
    if isinstance(part, int):
        return -_MAX_KEY <= part <= _MAX_KEY
    return "\0" not in part and not any("\ud800" <= character <= "\udfff" for character in part)


def _digest(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()[:12]
