"""Which rows are encoded together; savings counted by hand."""

from __future__ import annotations

from random import Random

from edgedistill.ml.prefixes import Group, group_by_prefix

LONG = tuple(range(100, 400))


def test_two_heads_make_two_groups() -> None:
    """Six rows per head of 300: 2 * (5 * 300 - 512) saved, where the common 3 tokens of all would save 33."""
    rows = [[1, 2, 3, head, *LONG, row] for row in range(6) for head in (7, 8)]
    first, second = group_by_prefix(rows)
    assert (first.shared, sorted(first.rows)) == (304, [0, 2, 4, 6, 8, 10])
    assert (second.shared, sorted(second.rows)) == (304, [1, 3, 5, 7, 9, 11])


def test_a_prefix_of_all_wins_where_the_rest_differs() -> None:
    rows = [[*LONG, n, n, n] for n in range(5)]
    assert group_by_prefix(rows) == [Group(300, (0, 1, 2, 3, 4))]


def test_nothing_is_shared_where_it_does_not_pay() -> None:
    assert group_by_prefix([[1, 2, 3], [1, 2, 4], [9]]) == [Group(0, (2, 0, 1))]
    assert group_by_prefix([]) == []


def test_one_token_of_every_row_stays_outside() -> None:
    assert group_by_prefix([list(LONG)] * 4) == [Group(299, (0, 1, 2, 3))]


def test_rows_go_from_short_to_long_and_none_is_lost() -> None:
    random = Random(1)
    rows = [[*LONG[: random.randrange(300)], *random.choices(range(50), k=random.randrange(1, 9))] for _ in range(200)]
    groups = group_by_prefix(rows)
    assert sorted(index for group in groups for index in group.rows) == list(range(200))
    for group in groups:
        assert [len(rows[i]) for i in group.rows] == sorted(len(rows[i]) for i in group.rows)
        assert len({tuple(rows[i][: group.shared]) for i in group.rows}) == 1
        assert all(len(rows[i]) > group.shared for i in group.rows)


def test_rows_that_nest_hundreds_deep_are_no_problem() -> None:
    groups = group_by_prefix([list(range(n)) for n in range(1, 700)])
    assert sum(len(group.rows) for group in groups) == 699
