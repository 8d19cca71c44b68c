"""Which variable belongs to which group."""

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradloom.errors import InvalidRequestError
from gradloom.spec import assign_groups, matches
from gradloom.v1 import spec_pb2


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("conv*/**", "conv1/kernel", True),
        ("conv*/**", "conv/inner/bias", True),
        ("conv*/**", "my_conv/kernel", False),
        ("conv*/**", "conv1", False),
        ("**", "a/b/c", True),
        ("*", "a/b", False),
        ("*/kernel", "a/kernel", True),
        ("*/kernel", "a/b/kernel", False),
        ("**/kernel", "kernel", True),
        ("**/kernel", "a/b/kernel", True),
        ("**/kernel", "a/my_kernel", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "a/xb", False),
        ("a**b", "a/x/b", True),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("?", "a", False),
        ("***", "a/b", True),
        ("hidden/kernel", "hidden/kernel", True),
        ("hidden/kernel", "hidden/kernel2", False),
        ("", "", True),
    ],
)
def test_a_glob_covers_a_whole_path(pattern: str, path: str, expected: bool) -> None:
    assert matches(pattern, path) is expected


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**", "**/"]), max_size=6).map("".join),
    st.text(alphabet="ab/", max_size=7),
)
def test_a_glob_means_its_regular_expression(pattern: str, path: str) -> None:
    pieces = re.split(r"((?:(?<=/)|^)\*{2,}/|\*+)", pattern)
    expression = "".join(
        {0: re.escape(piece)}.get(i % 2, "")
        or ("(?:.*/)?" if piece.endswith("/") else ".*" if len(piece) > 1 else "[^/]*" if piece else "")
        for i, piece in enumerate(pieces)
    )
    assert matches(pattern, path) == bool(re.fullmatch(expression, path, re.DOTALL))


def test_no_pattern_takes_exponentially_long() -> None:
    # Such a one would not end within the time that a test may take.
    for pattern in ("a*" * 150, "**/" * 100, "**a" * 100, "*" * 300):
        matches(pattern, "a" * 500 + "b")
        matches(pattern, "a/" * 250 + "b")


def group(name: str, *patterns: str) -> spec_pb2.VariableGroup:
    return spec_pb2.VariableGroup(name=name, match=patterns)


def test_the_first_group_that_matches_has_the_variable() -> None:
    groups = [group("bias", "**/bias"), group("rest", "**")]
    assert assign_groups(["a/kernel", "a/bias"], groups) == {"a/kernel": "rest", "a/bias": "bias"}


def test_a_variable_without_a_group_is_refused_listing_both_sides() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        assign_groups(["a/kernel", "b/kernel"], [group("a", "a/*")])
    (fault,) = caught.value.faults
    assert fault.field == "spec.variable_groups"
    assert "b/kernel match no group" in fault.description
    assert "a (a/*)" in fault.description


def test_a_group_without_a_variable_is_refused_listing_both_sides() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        assign_groups(["a/kernel"], [group("a", "**"), group("late", "a/*"), group("wrong", "c/**")])
    late, wrong = caught.value.faults
    assert late.field == "spec.variable_groups[1].match"
    assert "earlier groups have all it matches: a/kernel (a)" in late.description
    assert wrong.field == "spec.variable_groups[2].match"
    assert "no trainable variable matches c/**; variables: a/kernel" in wrong.description


def test_a_model_without_variables_is_called_that() -> None:
    with pytest.raises(InvalidRequestError, match=r"no trainable variable matches \*\*; the model has none"):
        assign_groups([], [group("a", "**")])


def test_a_thousand_variables_are_not_all_listed() -> None:
    paths = [f"layer_{i}/kernel" for i in range(1000)]
    with pytest.raises(InvalidRequestError) as caught:
        assign_groups(paths, [group("a", "layer_1/*"), group("b", *["x" * 300] * 200)])
    assert len(str(caught.value)) < 8000


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_variable_ends_in_exactly_one_group(order: tuple[int, ...]) -> None:
    groups = [group("x", "a/*"), group("y", "b/**"), group("z", "**/c")]
    paths = ["a/k", "b/k/c", "b/l", "d/c"]
    assignment = assign_groups(paths, [groups[i] for i in order])
    assert list(assignment) == paths
