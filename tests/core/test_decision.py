"""Which word a claim gets: worked examples, and what can never happen."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rar_lib.core.decision import (
    WORDS,
    Finding,
    decide,
    decide_family,
    fewest_units,
    not_testable,
)
from rar_lib.core.stats import (
    Comparison,
    Interval,
    Seeds,
    compare,
    compare_with_rate,
    crossed,
    sign_flip_p,
)


def over(gaps: list[float]) -> Comparison:
    return compare(gaps, range(len(gaps)))


def of(p: float, value: float = 0.1, *, n: int = 48, half: float = 0.08) -> Comparison:
    """A comparison with a p-value of one's own."""
    return Comparison(Interval(value, value - half, value + half, n, half / 2), 1.4 * half, p)


def test_four_differences_of_24_all_one_way_decide_nothing() -> None:
    found = decide(over([-1.0] * 4 + [0.0] * 20))
    assert found.p == pytest.approx(0.125)  # 2 / 2 ** 4, McNemar's
    assert found.word == "undecided"
    assert found.needed is not None
    assert found.needed > 24


@pytest.mark.parametrize(("wins", "losses", "p"), [(9, 2, 0.0654), (10, 3, 0.0923)])
def test_more_wins_than_losses_are_not_enough(wins: int, losses: int, p: float) -> None:
    found = decide(over([1.0] * wins + [-1.0] * losses + [0.0] * (24 - wins - losses)))
    assert found.p == pytest.approx(p, abs=1e-4)
    assert found.word == "undecided"


@pytest.mark.parametrize(("sign", "word"), [(1, "supported"), (-1, "contradicted")])
def test_the_direction_is_that_of_the_difference(sign: int, word: str) -> None:
    found = decide(over([sign * 0.2] * 10))
    assert (found.word, str(found)) == (word, word)
    assert found.p == found.p_holm == pytest.approx(2 / 2**10)
    opposite = decide(-over([sign * 0.2] * 10))
    assert {found.word, opposite.word} == {"supported", "contradicted"}


@pytest.mark.parametrize(
    ("members", "n"),
    # The smallest p of n tasks is 2 / 2 ** n; all of a family at it pass if it times m does.
    [(1, 6), (2, 7), (3, 7), (4, 8), (6, 8), (7, 9), (10, 9), (40, 11)],
)
def test_fewest_tasks_that_can_decide_by_size_of_the_family(members: int, n: int) -> None:
    def words(tasks: int) -> set[str]:
        family = {str(i): over([0.5] * tasks) for i in range(members)}
        return {found.word for found in decide_family(family).values()}

    assert words(n) == {"supported"}
    assert words(n - 1) == {"not testable here"}
    assert fewest_units(members) == n


@pytest.mark.parametrize(
    ("members", "alpha", "n"),
    [
        (37, 0.05, 11),  # 37 * 2 / 2**10 = 0.072, 37 * 2 / 2**11 = 0.036
        (12, 0.05, 9),  # 12 * 2 / 2**8 = 0.094, 12 * 2 / 2**9 = 0.047
        (819, 0.05, 15),  # 819 * 2 / 2**15 = 0.04999
        (820, 0.05, 16),
        (1, 0.5, 2),  # exactly at the level
        (4, 0.01, 10),
    ],
)
def test_fewest_units_by_hand(members: int, alpha: float, n: int) -> None:
    assert fewest_units(members, alpha) == n
    assert members * 2 / 2**n <= alpha < members * 2 / 2 ** (n - 1)


@pytest.mark.parametrize("n", [2, 8, 11, 15])
def test_the_smallest_p_is_that_of_the_test_that_is_used(n: int) -> None:
    smallest = sign_flip_p([0.5] * n, range(n))
    assert smallest == 2 / 2**n
    assert fewest_units(1, smallest) == n


@pytest.mark.parametrize(
    ("members", "alpha", "message"),
    [
        (0, 0.05, "a family has one claim or more, got 0"),
        (-3, 0.05, "got -3"),
        (1, 0.0, "alpha must be in"),
        (1, 1.0, "alpha must be in"),
        (1, math.nan, "alpha must be in"),
    ],
)
def test_fewest_units_of_no_family_or_no_level_is_an_error(
    members: int, alpha: float, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        fewest_units(members, alpha)


def test_so_few_tasks_are_named_with_the_size_of_the_family() -> None:
    found = decide_family({"a": over([0.5, 0.1, -0.2] * 2), "b": over([0.5] * 6)})
    assert str(found["a"]) == "not testable here: 6 tasks can't reach p = 0.05 in a family of 2"


def right(n: int, of: int, rate: float = 0.25) -> Comparison:
    """So many right of so many, against a guesser."""
    return compare_with_rate({unit: float(unit < n) for unit in range(of)}, rate)


@pytest.mark.parametrize(
    ("n", "of", "rate", "word"),
    [
        (4, 4, 0.25, "supported"),  # 1 / 256
        (3, 4, 0.25, "undecided"),  # 0.0508, where four could have decided
        (0, 4, 0.25, "undecided"),
        (3, 3, 0.25, "supported"),  # 1 / 64
        (2, 2, 0.25, "not testable here"),  # 1 / 16 is all that two can give
        (1, 2, 0.25, "not testable here"),
        (1, 1, 0.04, "supported"),
        (5, 5, 0.5, "not testable here"),  # signs: 2 / 2 ** 5
        (6, 6, 0.5, "supported"),
        (0, 4, 0.75, "contradicted"),
    ],
)
def test_no_test_is_said_to_be_unable_to_what_it_can(
    n: int, of: int, rate: float, word: str
) -> None:
    assert decide(right(n, of, rate)).word == word


def test_whether_a_family_can_be_decided_is_asked_of_each_test_by_itself() -> None:
    found = decide_family({"a": right(4, 5), "b": right(2, 5), "c": over([0.5] * 5)})
    assert [one.word for one in found.values()] == ["supported", "undecided", "not testable here"]
    said = "not testable here: 5 tasks can't reach p = 0.05 in a family of 3"
    assert str(found["c"]) == said


@pytest.mark.parametrize("compared", [right(3, 4), right(2, 2), -right(3, 4), over([0.5] * 5)])
def test_what_a_test_can_give_is_kept_with_its_finding(compared: Comparison) -> None:
    found = decide(compared)
    again = Finding.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert again.comparison() == replace(compared, p_holm=None)
    assert decide_family({"a": again, "b": right(4, 4)})["a"].word == (
        decide_family({"a": compared, "b": right(4, 4)})["a"].word
    )


def test_a_record_of_before_is_of_sign_flips() -> None:
    value = decide(over([0.5] * 5)).to_json()
    assert "smallest" not in value
    assert decide(Finding.from_json(value)).word == "not testable here"


def test_few_tasks_can_decide_beside_claims_of_many() -> None:
    # Alone, six tasks of one sign have 0.031; Holm leaves that, as the other claim comes first.
    found = decide_family({"few": over([0.5] * 6), "many": over([0.5] * 12)})
    assert {f.word for f in found.values()} == {"supported"}
    assert found["few"].p_holm == pytest.approx(2 / 2**6)


def test_holm_is_over_the_family_and_the_finding_follows_it() -> None:
    alone = decide(of(0.03))
    assert alone.word == "supported"
    together = decide_family({"a": of(0.03), "b": of(0.04), "c": of(0.9)})
    assert together["a"].p_holm == pytest.approx(0.09)
    assert {f.word for f in together.values()} == {"undecided"}


def test_exactly_at_the_level_is_a_finding() -> None:
    assert decide(of(0.05)).word == "supported"
    assert decide(of(math.nextafter(0.05, 1))).word == "undecided"
    assert decide(of(0.03), alpha=0.02).word == "undecided"


@pytest.mark.parametrize(
    ("value", "half", "n", "word"),
    [
        (0.00, 0.05, 24, "no difference larger than d"),
        (0.02, 0.03, 24, "no difference larger than d"),
        (0.02, 0.031, 24, "undecided"),
        (-0.02, 0.031, 24, "undecided"),
        (0.00, 0.01, 8, "no difference larger than d"),
        (0.00, 0.01, 7, "undecided"),  # an interval over so few is none
    ],
)
def test_no_difference_needs_the_interval_inside_the_margin(
    value: float, half: float, n: int, word: str
) -> None:
    found = decide(of(0.9, value, n=n, half=half), margin=0.05)
    assert found.word == word
    assert decide(of(0.9, value, n=n, half=half)).word == "undecided"  # no margin was declared


def test_each_claim_has_its_own_margin_or_none() -> None:
    small = of(0.9, 0.0, half=0.04)
    found = decide_family({c: small for c in "abc"}, margins={"a": 0.05, "b": 0.03, "c": None})
    assert [f.word == "no difference larger than d" for f in found.values()] == [True, False, False]
    assert [f.margin for f in found.values()] == [0.05, 0.03, None]


def test_a_small_difference_that_is_there_is_supported_all_the_same() -> None:
    found = decide(of(0.001, 0.02, half=0.01), margin=0.05)
    assert found.word == "supported"


def test_sides_that_never_differ_are_no_proof_of_equality_with_few_tasks() -> None:
    few, many = (decide(over([0.0] * n), margin=0.05) for n in (24, 160))
    assert few.word == "undecided"
    assert few.needed is not None
    assert many.word == "no difference larger than d"
    assert str(many) == "no difference larger than 0.05"


def test_minus_zero_and_ties_are_no_direction() -> None:
    for zeros in ([0.0] * 10, [-0.0] * 10, [0.5, -0.5] * 5):
        found = decide(over(zeros))
        assert found.word == "undecided"
        assert found.p == 1.0
        assert found.difference is not None
        assert "-" not in f"{found.difference.value + 0.0:.2f}"


def test_tasks_needed_by_hand() -> None:
    # 0.1 was seen and 0.112 is detectable with 48: (0.112 / 0.1)^2 * 48 = 60.2.
    assert decide(of(0.06)).needed == 61
    # No side is named for which they would decide: the difference may not be what it seems.
    for value in (0.1, -0.1):
        assert str(decide(of(0.06, value))) == "undecided (needs about 61 tasks at this difference)"
    # In a family of four the level is 0.0125: (2.4977 + 0.8416) / 2.8016 = 1.1919 times.
    four = decide_family({str(i): of(0.06) for i in range(4)})
    assert four["0"].needed == math.ceil(60.2112 * 1.19194**2)
    # To show 0.01 takes 6,022, that it is inside 0.2 only (0.112 / 0.19)^2 * 48 = 16.7: one more.
    assert decide(of(0.8, 0.01, half=0.08)).needed == 6022
    assert (
        decide(replace(of(0.8, 0.01), difference=Interval(0.01, -0.3, 0.3, 48)), margin=0.2).needed
        == 49
    )
    assert decide(of(1.0, 0.0)).needed is None  # nothing is seen, and no margin to be inside


def over_seeds(value: float, seeds: list[float], task: float, *, tasks: int = 40) -> Comparison:
    """Effects of seeds and tasks that add up to a mean of ``value``; those of tasks are +-."""
    of_task = task * (-1.0) ** np.arange(tasks)
    return crossed(value + np.array(seeds)[:, None] - np.mean(seeds) + of_task[None, :])


UNEVEN = [0.10, 0.02, -0.03]  # variance 0.0043


@pytest.mark.parametrize(
    ("value", "seeds", "task", "tasks", "more_seeds", "says"),
    [
        # Variance of the mean 0.0043 / 3 + 0.0103 / 40 = 0.00169, of which tasks move 0.00026. To
        # show 0.15 by t(2) takes (0.15 / 5.363)^2 = 0.00078, less than the seeds alone have; by
        # t(4), of five seeds, (0.15 / 3.717)^2 = 0.00163: 0.0043 / 5 + 0.00026 is below.
        (0.15, UNEVEN, 0.1, None, 5, "about 5 seeds at this difference"),
        # 0.03 is too little for the 40 tasks however many seeds, and the other way round.
        (0.03, UNEVEN, 0.1, None, None, "more seeds and tasks"),
        # 0.0001 / 3 + 0.0410 / 131 = 0.000346 is below (0.1 / 5.363)^2 = 0.000348; 11 seeds have
        # 0.0001 / 11 + 0.0410 / 40 = 0.001035, and (0.1 / 3.107)^2 = 0.001036 by t(10).
        (0.1, [0.01, 0.0, -0.01], 0.2, 131, 11, "about 131 tasks or 11 seeds at this difference"),
        # Tasks that do not differ: 2.998 * sqrt(0.0043 / 16) = 0.0491 by t(15); of 15 seeds 0.0510.
        (0.05, UNEVEN, 0.0, None, 16, "about 16 seeds at this difference"),
        (0.0, UNEVEN, 0.1, None, None, ""),  # nothing is seen that could show
    ],
)
def test_what_an_effect_over_seeds_and_tasks_needs_by_hand(
    value: float,
    seeds: list[float],
    task: float,
    tasks: int | None,
    more_seeds: int | None,
    says: str,
) -> None:
    found = decide(over_seeds(value, seeds, task))
    open_ = f"undecided (needs {says})" if says else "undecided"
    assert (found.needed, found.needed_seeds, str(found)) == (tasks, more_seeds, open_)
    assert Finding.from_json(json.loads(json.dumps(found.to_json()))) == found
    assert decide(found) == found


def test_more_tasks_alone_are_not_asked_for_where_seeds_are_what_differs() -> None:
    few, many = (decide(over_seeds(0.03, UNEVEN, 0.1, tasks=n)) for n in (40, 160))
    assert few.needed is None
    assert many.needed is None
    assert many.needed_seeds is not None  # 160 tasks would do
    few_members = {str(i): over_seeds(0.15, UNEVEN, 0.1) for i in range(4)}
    stricter = decide_family(few_members)["0"].needed_seeds
    assert stricter is not None
    assert stricter > 5


def test_seeds_can_show_that_a_difference_is_inside_the_margin() -> None:
    open_ = decide(over_seeds(0.0, UNEVEN, 0.01), margin=0.05)
    assert open_.needed is None
    assert open_.needed_seeds is not None
    inside = decide(over_seeds(0.0, [s / 20 for s in UNEVEN], 0.01), margin=0.05)
    assert inside.word == "no difference larger than d"


def test_few_tasks_under_several_seeds_are_not_tested_by_signs() -> None:
    """Eight tasks reach 2/256 by their signs; Student's test over seeds can be far below."""
    one = over_seeds(0.5, [0.001, 0.0, -0.001], 0.001, tasks=8)
    twelve = decide_family({str(i): one for i in range(12)})
    assert {found.word for found in twelve.values()} == {"supported"}
    weak = over_seeds(0.1, UNEVEN, 0.1, tasks=8)
    found = decide_family({str(i): weak for i in range(12)})["0"]
    assert found.word == "undecided"
    assert found.seeds is not None


def test_seeds_without_any_variance_ask_for_seeds() -> None:
    found = decide(crossed(np.full((3, 24), 0.25)))
    assert found.seeds == Seeds(n=3, only_seeds=1.0, only_tasks=0.0)
    assert (found.word, found.needed) == ("undecided", None)
    assert found.needed_seeds is not None


def test_a_claim_without_data_is_not_testable_and_does_not_count_in_the_family() -> None:
    found = decide_family({"a": of(0.03), "b": None, "c": not_testable("one seed")})
    assert (found["a"].word, found["a"].p_holm) == ("supported", 0.03)
    assert str(found["b"]) == "not testable here: nothing was scored on both sides"
    assert str(found["c"]) == "not testable here: one seed"
    with pytest.raises(ValueError, match="needs a reason"):
        not_testable(" ")


def test_findings_are_decided_anew_in_another_family() -> None:
    first = decide(of(0.03), margin=0.05)
    again = decide_family({"a": first, "b": of(0.5)}, margins={"a": 0.1})
    assert (again["a"].word, again["a"].p_holm, again["a"].margin) == ("undecided", 0.06, 0.1)
    assert decide(first, margin=0.05) == first
    assert decide_family({}) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"margins": 0.0}, "margin of 'a' must be a number above 0, got 0.0"),
        ({"margins": {"a": -0.1}}, "got -0.1"),
        ({"margins": math.nan}, "got nan"),
        ({"margins": math.inf}, "got inf"),
        ({"margins": {"b": 0.1}}, "'b', which is not in the family"),
        ({"alpha": 0.0}, "alpha must be in"),
        ({"alpha": 1.0}, "alpha must be in"),
    ],
)
def test_what_cannot_be_decided_by_is_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decide_family({"a": of(0.5)}, **arguments)  # type: ignore[arg-type]


GAPS = st.lists(st.sampled_from([-1.0, -0.5, -0.0, 0.0, 0.25, 1.0]), min_size=1, max_size=10)


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from("abcd"), GAPS, max_size=4), st.booleans())
def test_a_finding_and_its_p_value_cannot_disagree(
    gaps: dict[str, list[float]], with_margin: bool
) -> None:
    found = decide_family(
        {name: over(g) for name, g in gaps.items()}, margins=0.5 if with_margin else None
    )
    assert list(found) == list(gaps)
    for name, one in found.items():
        assert one.word in WORDS
        assert one.p is not None
        assert one.p_holm is not None
        assert one.difference is not None
        decided = one.word in ("supported", "contradicted")
        assert decided == (one.p_holm <= 0.05)
        if decided:
            assert (one.difference.value > 0) == (one.word == "supported")
            assert sum(map(bool, gaps[name])) >= 6
        if one.word == "not testable here":
            assert one.reason
        if one.needed is not None:
            assert one.needed > one.difference.n
        assert Finding.from_json(json.loads(json.dumps(one.to_json()))) == one


@settings(max_examples=60)
@given(GAPS)
def test_the_opposite_claim_gets_the_opposite_word(gaps: list[float]) -> None:
    turned = {"supported": "contradicted", "contradicted": "supported"}
    one = decide(over(gaps), margin=0.3)
    other = decide(-over(gaps), margin=0.3)
    assert other.word == turned.get(one.word, one.word)
    assert other.needed == one.needed


def test_a_finding_of_no_word_is_refused() -> None:
    value = decide(of(0.5)).to_json() | {"word": "not supported"}
    with pytest.raises(ValueError, match="'not supported' is no finding; allowed: supported, "):
        Finding.from_json(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p": None}, "'undecided' without p"),
        ({"detectable": None}, "'undecided' without detectable"),
        ({"word": "not testable here", "difference": None}, "'not testable here' without diff"),
    ],
)
def test_a_finding_that_could_not_be_decided_anew_is_refused(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Finding.from_json(decide(of(0.5)).to_json() | change)
