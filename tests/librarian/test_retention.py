"""What goes and what stays, for any store, limits and protections."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.lifetimes import AgeLimit, Limits, Policy, Protection
from librarian.retention import Plan, Reason, Situation, StoredHour, decide, space_before, wanted_again

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = 24 * HOUR


def ago(hours: int, size: int = 10, **changes: object) -> StoredHour:
    return replace(StoredHour(NOON - hours * HOUR, "chan", "source", size), **changes)  # type: ignore[arg-type] # any field


def policy(
    *ages: AgeLimit, size: int | None = None, free: int | None = None, needed: tuple[Protection, ...] = ()
) -> Policy:
    return Policy(Limits(ages, size, free), known=NOON, protections=needed)


def going(plan: Plan) -> dict[int, str]:
    """What goes, by its age in hours, and why."""
    return {(NOON - each.hour.start) // HOUR: each.reason.value for each in plan.going}


DAYS = AgeLimit("*", "*", DAY)


def test_nothing_goes_without_limits() -> None:
    """A librarian that was told no limit deletes nothing."""
    assert decide(Situation([ago(each) for each in range(9000)], NOON, 0), policy()).going == ()


def test_old_hours_go() -> None:
    """An hour goes when all of it is older than the limit of its quality."""
    hours = [ago(24), ago(25), ago(26), ago(26, quality="720p"), ago(3, quality="720p")]
    plan = decide(Situation(hours, NOON, 0), policy(DAYS, AgeLimit("*", "720p", 2 * HOUR)))
    assert [(each.hour.name, each.reason) for each in plan.going] == [
        ("chan/720p/2026-02-28T10", Reason.AGE),
        ("chan/source/2026-02-28T10", Reason.AGE),
        ("chan/source/2026-02-28T11", Reason.AGE),
        ("chan/720p/2026-03-01T09", Reason.AGE),
    ]


def test_oldest_make_room() -> None:
    """Beyond a size, and where the disk runs short, as many go as are needed, the oldest first."""
    hours = [ago(each) for each in range(10)]
    assert going(decide(Situation(hours, NOON, 0), policy(size=75))) == {9: "size", 8: "size", 7: "size"}
    assert going(decide(Situation(hours, NOON, 35), policy(free=50))) == {9: "disk", 8: "disk"}
    both = policy(AgeLimit("*", "*", 8 * HOUR), size=80, free=50)
    assert going(decide(Situation(hours, NOON, 10), both)) == {9: "age", 8: "size", 7: "disk", 6: "disk"}


def test_other_disks_do_not_help() -> None:
    """What lies on another disk does not go when the store's own is short."""
    hours = [ago(9, on_disk=False), ago(8), ago(7)]
    assert going(decide(Situation(hours, NOON, 0), policy(free=10))) == {8: "disk"}


def test_what_is_recorded_now_stays() -> None:
    """The newest two hours stay whatever the limits; so do those of a recorder whose stream lives in another time."""
    hours = [ago(each) for each in range(4)]
    plan = decide(Situation(hours, NOON + 5 * 60 * timedelta(seconds=1), 0), policy(size=0, free=10**9))
    assert going(plan) == {3: "size", 2: "size"}
    assert [each.why for each in plan.staying] == ["it is being recorded"] * 2
    assert plan.excess == 10**9 - 20
    old = [ago(each) for each in (9000, 9001, 9002)]
    assert going(decide(Situation(old, NOON, 0, {("chan", "source")}), policy(DAYS))) == {9002: "age"}
    assert set(going(decide(Situation(old, NOON, 0), policy(DAYS)))) == {9000, 9001, 9002}


def test_what_somebody_needs_stays() -> None:
    """An hour that is needed stays, with the hour before it, and it is told why; the next ones go in its place."""
    hours = [ago(each) for each in range(30, 40)]
    moment = NOON - 36 * HOUR + 30 * timedelta(minutes=1)
    needed = (Protection("chan", None, moment, moment + timedelta(seconds=1), "the event one is EDITED"),)
    plan = decide(Situation(hours, NOON, 0), policy(DAYS, needed=needed))
    assert set(going(plan)) == {30, 31, 32, 33, 34, 35, 38, 39}
    assert {((NOON - each.hour.start) // HOUR, each.why) for each in plan.staying} == {
        (36, "the event one is EDITED"),
        (37, "the event one is EDITED"),
    }
    assert plan.protected == 20
    assert set(going(decide(Situation(hours, NOON, 0), policy(size=80, needed=needed)))) == {38, 39}


def test_nothing_goes_of_which_nothing_is_known() -> None:
    """Before it was ever known what is needed nothing goes; later what was recorded since it was last known stays."""
    hours = [ago(each) for each in range(20, 40)]
    never = decide(Situation(hours, NOON, 0), replace(policy(DAYS, free=10**9), known=None))
    assert (never.going, never.excess) == ((), 10**9)
    stale = replace(policy(AgeLimit("*", "*", HOUR)), known=NOON - 35 * HOUR)
    assert set(going(decide(Situation(hours, NOON, 0), stale))) == {36, 37, 38, 39}


hours = st.builds(
    StoredHour,
    st.integers(0, 60).map(lambda each: NOON - each * HOUR),
    st.sampled_from(["a", "b"]),
    st.sampled_from(["source", "720p"]),
    st.integers(0, 30),
    on_disk=st.booleans(),
)
situations = st.builds(
    Situation,
    st.lists(hours, max_size=30, unique_by=lambda hour: hour.name),
    st.integers(0, 3599).map(lambda seconds: NOON + timedelta(seconds=seconds)),
    st.integers(0, 300),
    st.frozensets(st.sampled_from([("a", "source"), ("b", "720p")])),
)
protections = st.builds(
    lambda channel, quality, start, length: Protection(
        channel, quality, NOON - start * HOUR, NOON - start * HOUR + length * HOUR, "it is needed"
    ),
    st.sampled_from(["a", "b", None]),
    st.sampled_from(["source", "720p", None]),
    st.integers(0, 60),
    st.integers(1, 5),
)
policies = st.builds(
    lambda ages, size, free, known, needed: Policy(Limits(tuple(ages), size, free), None, known, tuple(needed)),
    st.lists(
        st.builds(
            lambda channel, quality, hours: AgeLimit(channel, quality, hours * HOUR),
            st.sampled_from(["*", "a"]), st.sampled_from(["*", "720p"]), st.integers(1, 60),
        ),
        max_size=2,
    ),
    st.none() | st.integers(0, 400),
    st.none() | st.integers(0, 400),
    st.none() | st.integers(0, 80).map(lambda each: NOON - each * HOUR) | st.just(NOON + HOUR),
    st.lists(protections, max_size=4),
)  # fmt: skip


def free_to_go(hour: StoredHour, situation: Situation, policy: Policy) -> bool:
    """The rules in other words."""
    if policy.known is None or hour.start > policy.known - HOUR or hour.start > NOON - 2 * HOUR:
        return False
    same = [other for other in situation.hours if (other.channel, other.quality) == (hour.channel, hour.quality)]
    if (hour.channel, hour.quality) in situation.recording and sum(other.start > hour.start for other in same) < 2:
        return False
    for each in policy.protections:
        mine = each.channel in (None, hour.channel) and each.quality in (None, hour.quality)
        reach = timedelta(minutes=10)
        if mine and each.start - reach - HOUR < hour.start + HOUR and hour.start <= each.end + reach:
            return False
    return True


@given(situations, policies)
def test_exactly_what_must_and_may_go_goes(situation: Situation, policy: Policy) -> None:
    """What goes may go; what is too old and may go does; the limits then hold, or nothing is left that may go."""
    plan = decide(situation, policy)
    gone = {each.hour: each.reason for each in plan.going}
    free = {hour for hour in situation.hours if free_to_go(hour, situation, policy)}
    assert gone.keys() <= free
    for hour in free:
        age = policy.limits.age(hour.channel, hour.quality)
        assert (gone.get(hour) is Reason.AGE) == (age is not None and hour.start + HOUR <= situation.now - age)
    left = sum(hour.size for hour in situation.hours) - plan.freed()
    over = max(0, left - policy.limits.size) if policy.limits.size is not None else 0
    room = situation.free + sum(hour.size for hour in gone if hour.on_disk)
    short = max(0, policy.limits.free - room) if policy.limits.free is not None else 0
    assert plan.excess == max(over, short)
    if over:
        assert not any(hour.size for hour in free - gone.keys())
    if short:
        assert not any(hour.size and hour.on_disk for hour in free - gone.keys())


@given(situations, policies)
def test_oldest_go_and_no_more_than_needed(situation: Situation, policy: Policy) -> None:
    """For room the oldest of what may go goes, and without the last of it there would not be room."""
    plan = decide(situation, policy)
    gone = {each.hour: each.reason for each in plan.going}
    free = {hour for hour in situation.hours if hour.size and free_to_go(hour, situation, policy)}
    for reason in (Reason.SIZE, Reason.DISK):
        made_room = [hour for hour, why in gone.items() if why is reason]
        if not made_room:
            continue
        older = {hour for hour in free if hour < max(made_room) and (hour.on_disk or reason is Reason.SIZE)}
        assert older <= gone.keys()
        if reason is Reason.SIZE and policy.limits.size is not None:
            before = plan.freed(Reason.AGE, Reason.SIZE) - max(made_room).size
            assert sum(hour.size for hour in situation.hours) - before > policy.limits.size


@given(situations, policies, st.randoms(use_true_random=False))
def test_order_of_what_is_given_is_irrelevant(situation: Situation, policy: Policy, dice: object) -> None:
    """The plan is the same in whatever order the hours are listed, and a second one after it takes nothing more."""
    shuffled = list(situation.hours)
    dice.shuffle(shuffled)  # type: ignore[attr-defined] # a random.Random of hypothesis
    plan = decide(situation, policy)
    assert decide(replace(situation, hours=shuffled), policy).going == plan.going
    gone = {each.hour for each in plan.going}
    room = sum(hour.size for hour in gone if hour.on_disk)
    rest = replace(situation, hours=[hour for hour in situation.hours if hour not in gone], free=situation.free + room)
    again = decide(rest, policy)
    assert {
        each.hour for each in again.going if (each.hour.channel, each.hour.quality) not in situation.recording
    } == set()


@given(situations, policies)
def test_every_hour_that_stays_against_a_limit_says_why(situation: Situation, policy: Policy) -> None:
    """What a limit wants gone either goes or is told with the reason why not."""
    plan = decide(situation, policy)
    told = {each.hour for each in plan.going} | {each.hour for each in plan.staying}
    for hour in situation.hours:
        age = policy.limits.age(hour.channel, hour.quality)
        if age is not None and hour.start + HOUR <= situation.now - age:
            assert hour in told
    assert not {each.hour for each in plan.going} & {each.hour for each in plan.staying}


def test_what_made_room_is_not_asked_for_again() -> None:
    """Nothing before the newest hour that made room is wanted, until there is plenty of room."""
    situation, limits = Situation([ago(each) for each in range(10)], NOON, 100), Limits(size=75)
    plan = decide(situation, policy(size=75))
    assert space_before(None, plan, situation, limits) == NOON - 7 * HOUR
    assert space_before(NOON - 3 * HOUR, plan, situation, limits) == NOON - 3 * HOUR
    nothing = decide(situation, policy(size=105))
    assert space_before(NOON - 3 * HOUR, nothing, situation, Limits(size=105)) == NOON - 3 * HOUR
    assert space_before(NOON - 3 * HOUR, nothing, situation, Limits(size=200)) is None
    assert space_before(NOON - 3 * HOUR, nothing, situation, Limits(free=90)) == NOON - 3 * HOUR
    assert space_before(NOON - 3 * HOUR, nothing, situation, Limits()) is None


@pytest.mark.parametrize(("quality", "found"), [("source", ["2026-03-01T11", "2026-03-01T12"]), ("720p", [])])
def test_what_is_needed_after_all_is_wanted_again(quality: str, found: list[str]) -> None:
    """Of hours that were deleted those are wanted that somebody has come to need."""
    deleted = dict.fromkeys(["2026-03-01T10", "2026-03-01T11", "2026-03-01T12", "2026-03-01T13"], NOON)
    moment = NOON + timedelta(minutes=30)
    needed = Protection("chan", "source", moment, moment, "it is kept")
    assert wanted_again(policy(needed=(needed,)), deleted, "chan", quality) == found
