"""Where a reader of a job's logs is: the attempt, and the offset in its whole log. StreamLogs gives it and takes it."""

import re

from gradloom.errors import CursorExpiredError, FieldFault, InvalidRequestError
from gradloom.faults import shown


def write(uid: str, number: int, offset: int) -> str:
    """The cursor of a place in the log of an attempt."""
    return f"{uid.replace('-', '')}.{number}.{offset}"


def read(cursor: str, uid: str) -> tuple[int, int]:
    """Attempt and offset.

    Raises InvalidRequestError on `cursor` for what is none, CursorExpiredError for another job's.
    """
    match = re.fullmatch(r"([0-9a-f]{1,64})\.([1-9][0-9]{0,8})\.([0-9]{1,18})", cursor, re.ASCII)
    if not match:
        rule = f"must be the cursor of a message of this stream; got {shown(cursor)}"
        raise InvalidRequestError([FieldFault("cursor", rule)])
    if match[1] != uid.replace("-", ""):
        raise CursorExpiredError(f"the cursor is another job's, perhaps of one that had this name; got {shown(cursor)}")
    return int(match[2]), int(match[3])
