"""Cursors: where the reader of a stream of one job is. Each has the job's uid, for another job may get its name."""

import re

from gradloom.errors import CursorExpiredError, refusal
from gradloom.faults import shown


def write(uid: str, place: str) -> str:
    """The cursor of a place in a stream of the job."""
    return f"{uid.replace('-', '')}.{place}"


def read(cursor: str, uid: str, place: str) -> tuple[int, ...]:
    """The numbers of the place, which are the groups of the pattern `place`.

    Raises InvalidRequestError on `cursor` for what is none, CursorExpiredError for another job's.
    """
    match = re.fullmatch(rf"([0-9a-f]{{1,64}})\.{place}", cursor, re.ASCII)
    if not match:
        rule = f"must be the cursor of a message of this stream; got {shown(cursor)}"
        raise refusal("cursor", rule)
    if match[1] != uid.replace("-", ""):
        raise CursorExpiredError(f"the cursor is another job's, perhaps of one that had this name; got {shown(cursor)}")
    return tuple(map(int, match.groups()[1:]))
