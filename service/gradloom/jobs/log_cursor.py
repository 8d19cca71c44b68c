"""Where a reader of a job's logs is: the attempt, and the offset in its whole log. StreamLogs gives it and takes it."""

from gradloom.jobs import cursors


def write(uid: str, number: int, offset: int) -> str:
    """The cursor of a place in the log of an attempt."""
    return cursors.write(uid, f"{number}.{offset}")


def read(cursor: str, uid: str) -> tuple[int, int]:
    """Attempt and offset; raises as `cursors.read` does."""
    number, offset = cursors.read(cursor, uid, r"([1-9][0-9]{0,8})\.([0-9]{1,18})")
    return number, offset
