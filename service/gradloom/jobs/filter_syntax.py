r"""Filters as AIP-160 writes them: from text to a tree that knows no field.

    filter      = [ expression ]
    expression  = alternatives { [ "AND" ] alternatives }
    alternatives = term { "OR" term }
    term        = [ "NOT" | "-" ] ( comparison | "(" expression ")" )
    comparison  = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" | ":" ) value
    field       = word { "." ( word | string ) }
    value       = ( word | string ) [ "*" ]

So OR binds tighter than AND, and terms that stand side by side are meant together. A string stands in double or single
quotes; a backslash in it takes the next character as it is, which is how a value ends in a `*` of its own.
"""

import re
from dataclasses import dataclass
from typing import Final, NoReturn

from gradloom.errors import InvalidRequestError, refusal
from gradloom.faults import shown

MOST_CHARACTERS: Final = 2000
MOST_DEPTH: Final = 20
"""Of parentheses: what reads the tree recurses, here and in the database."""

_SPACE: Final = re.compile(r"\s*")
_WORD: Final = re.compile(r"""[^\s()"'<>=!:,.]+""")
_PLAIN_VALUE: Final = re.compile(r"""[^\s()"'<>=!,]+""")
_COMPARATOR: Final = re.compile(r"<=|>=|!=|[<>=:]")
_STRING: Final = re.compile(r"""(["'])((?:\\.|(?!\1)[^\\])*)\1""", re.DOTALL)
_CHARACTER: Final = re.compile(r"\\?.", re.DOTALL)
_NEGATION: Final = re.compile(r"NOT(?=[\s(]|\Z)|-(?=\S)")
_AND: Final = re.compile(r"AND(?=[\s(]|\Z)")
_OR: Final = re.compile(r"OR(?=[\s(]|\Z)")


@dataclass(frozen=True)
class Value:
    """What a field is compared with."""

    text: str
    """Without quotes, backslashes and the `*`."""
    is_prefix: bool
    """It ended in a `*`."""


@dataclass(frozen=True)
class Comparison:
    """A field and what it must be."""

    field: tuple[str, ...]
    """Its parts, as they stand between the dots."""
    comparator: str
    value: Value
    position: int
    """Of its first character in the filter, from 1."""


@dataclass(frozen=True)
class Negation:
    """What must not be."""

    of: "Node"


@dataclass(frozen=True)
class AllOf:
    """Joined by AND, or by nothing."""

    parts: tuple["Node", ...]


@dataclass(frozen=True)
class AnyOf:
    """Joined by OR."""

    parts: tuple["Node", ...]


Node = Comparison | Negation | AllOf | AnyOf


def parse(text: str) -> Node | None:
    """The tree of a filter; None for an empty one. Raises InvalidRequestError on `filter` with the position."""
    if len(text) > MOST_CHARACTERS:
        raise _refused(f"must be at most {MOST_CHARACTERS} characters; got {len(text)}")
    return _Parser(text).whole()


def at(position: int) -> str:
    """How a fault names its place; positions count from 1."""
    return f"at character {position}"


class _Parser:
    """Reads from the left; never goes back."""

    def __init__(self, text: str):
        self._text = text
        self._next = 0
        self._depth = 0

    def whole(self) -> Node | None:
        if self._is_over():
            return None
        tree = self._expression()
        if not self._is_over():
            self._fail("AND, OR or the end")
        return tree

    def _expression(self) -> Node:
        parts = [self._alternatives()]
        while not self._is_over() and self._text[self._next] != ")":
            self._take(_AND)
            parts.append(self._alternatives())
        return parts[0] if len(parts) == 1 else AllOf(tuple(parts))

    def _alternatives(self) -> Node:
        parts = [self._term()]
        while self._take(_OR):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else AnyOf(tuple(parts))

    def _term(self) -> Node:
        if self._take(_NEGATION):
            return Negation(self._simple())
        return self._simple()

    def _simple(self) -> Node:
        if self._is_over() or self._text[self._next] != "(":
            return self._comparison()
        if self._depth == MOST_DEPTH:
            raise _refused(f"must nest at most {MOST_DEPTH} parentheses; got more {at(self._next + 1)}")
        self._depth += 1
        self._next += 1
        inner = self._expression()
        if self._is_over():
            self._fail('")"')
        self._next += 1
        self._depth -= 1
        self._must_be_apart()
        return inner

    def _comparison(self) -> Comparison:
        position = self._next + 1
        field = [self._taken(_WORD) or self._fail("the name of a field, NOT or (")]
        while self._text.startswith(".", self._next):
            self._next += 1
            field.append(self._taken(_WORD) or self._string() or self._fail("a name after the dot"))
        self._skip_space()
        comparator = self._taken(_COMPARATOR) or self._fail(f"one of = != < <= > >= : after {shown('.'.join(field))}")
        self._skip_space()
        return Comparison(tuple(field), comparator, self._value(), position)

    def _value(self) -> Value:
        start = self._next
        plain = self._taken(_PLAIN_VALUE)
        characters = self._quoted() if plain is None else [(character, False) for character in plain]
        if characters is None:
            self._fail("a value")
        self._must_be_apart()
        stars = [index for index, character in enumerate(characters) if character == ("*", False)]
        if stars and stars != [len(characters) - 1]:
            rule = r'may hold * at the end of a value alone, for "begins with"; write "\*" for the character itself'
            raise _refused(f"{rule}; got {shown(self._text[start : self._next])} {at(start + 1)}")
        text = "".join(character for character, _ in characters)
        return Value(text.removesuffix("*") if stars else text, is_prefix=bool(stars))

    def _string(self) -> str | None:
        characters = self._quoted()
        return None if characters is None else "".join(character for character, _ in characters)

    def _quoted(self) -> list[tuple[str, bool]] | None:
        """The characters between quotes, each with whether a backslash stood before it; None where no quote begins."""
        if self._is_over() or self._text[self._next] not in "\"'":
            return None
        match = _STRING.match(self._text, self._next)
        if match is None:
            raise _refused(f"must close every quote; the one {at(self._next + 1)} is open")
        self._next = match.end()
        return [(character[-1], len(character) == 2) for character in _CHARACTER.findall(match[2])]

    def _must_be_apart(self) -> None:
        """What follows a value or a closing parenthesis is a space, another one, or the end."""
        if self._next < len(self._text) and not (self._text[self._next].isspace() or self._text[self._next] == ")"):
            self._fail("a space, ) or the end")

    def _take(self, word: re.Pattern[str]) -> bool:
        self._skip_space()
        return self._taken(word) is not None

    def _taken(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self._text, self._next)
        if match is None:
            return None
        self._next = match.end()
        return match[0]

    def _is_over(self) -> bool:
        self._skip_space()
        return self._next == len(self._text)

    def _skip_space(self) -> None:
        self._taken(_SPACE)

    def _fail(self, expected: str) -> NoReturn:
        rest = self._text[self._next :]
        found = shown(rest if len(rest) <= 30 else f"{rest[:27]}...") if rest else "the end"
        raise _refused(f"must have {expected} {at(self._next + 1)}; got {found}")


def _refused(description: str) -> InvalidRequestError:
    return refusal("filter", description)
