"""Who is next, held against brute force: every claim about the queue's order, on random queues and random devices."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from hypothesis import given, settings
from hypothesis import strategies as st

from gradloom.jobs.devices import Demand, Devices
from gradloom.jobs.queue import Holder, Plan, Waiting, plan

PRIORITIES = st.integers(-2, 2)


def job(number: int, demand: Demand, priority: int = 0) -> Waiting:
    return Waiting(f"job-{number}", f"projects/default/jobs/job-{number}", demand, priority, number)


def holder(number: int, devices: Sequence[str], priority: int = 0, *, movable: bool = False, ending: bool = False):
    return Holder(f"held-{number}", 1, tuple(devices), priority, number, movable and not ending, ending)


@st.composite
def servers(draw: st.DrawFn) -> Devices:
    return Devices(tuple(str(n) for n in range(draw(st.integers(0, 4)))), draw(st.integers(1, 3)))


def demands(devices: Devices) -> st.SearchStrategy[Demand]:
    """Also of one GPU more than there are, as of a job from before its server had fewer."""
    gpus = st.integers(1, len(devices.gpus) + 1).map(lambda count: Demand(count, 0))
    return gpus | st.just(Demand(0, 1))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Devices, list[Waiting], list[Holder]]:
    devices = draw(servers())
    numbers = iter(range(100))
    left, holders = list(devices.names), []
    while left and draw(st.booleans()):
        held = draw(st.lists(st.sampled_from(left), min_size=1, max_size=2, unique=True))
        left = [name for name in left if name not in held]
        movable, ending = draw(st.booleans()), draw(st.booleans())
        holders.append(holder(next(numbers), held, draw(PRIORITIES), movable=movable, ending=ending))
    waiting = draw(st.lists(st.tuples(demands(devices), PRIORITIES), max_size=6))
    return devices, [job(next(numbers), demand, priority) for demand, priority in waiting], holders


def in_order(waiting: Sequence[Waiting]) -> list[Waiting]:
    return sorted(waiting, key=lambda job: (-job.priority, job.sequence))


def free_devices(devices: Devices, holders: Sequence[Holder]) -> set[str]:
    return set(devices.names) - {name for holder in holders for name in holder.devices}


def fits(demand: Demand, names: set[str]) -> bool:
    gpus = sum(name.startswith("GPU:") for name in names)
    return gpus >= demand.gpus and len(names) - gpus >= demand.cpu_slots


def left_over(planned: Plan, devices: Devices, holders: Sequence[Holder]) -> set[str]:
    """What is free after every start."""
    return free_devices(devices, holders) - {name for start in planned.starts for name in start.devices}


@given(situations())
def test_a_job_that_starts_is_given_free_devices_of_its_own_as_many_as_it_asks_for(situation) -> None:
    devices, waiting, holders = situation
    by_uid = {job.uid: job for job in waiting}
    free = free_devices(devices, holders)
    for start in plan(devices, waiting, holders).starts:
        given_devices = set(start.devices)
        assert given_devices <= free
        free -= given_devices
        demand = by_uid[start.uid].demand
        assert len(given_devices) == len(start.devices) == demand.gpus + demand.cpu_slots
        assert fits(demand, given_devices)


@given(situations())
def test_without_endings_and_preemptions_the_queue_is_served_greedily_in_its_order(situation) -> None:
    devices, waiting, holders = situation
    settled = [replace(holder, may_make_room=False, is_ending=False) for holder in holders]
    free, expected = free_devices(devices, settled), []
    for waits in in_order(waiting):
        if fits(waits.demand, free):
            expected.append(waits.uid)
            free -= set(devices.pick_from(waits.demand, sorted(free)) or ())
    planned = plan(devices, waiting, settled)
    assert [start.uid for start in planned.starts] == expected
    owned = set(devices.names)
    assert set(planned.blocked) == {
        waits.uid for waits in waiting if waits.uid not in expected and fits(waits.demand, owned)
    }


@given(situations(), st.randoms())
def test_the_plan_does_not_depend_on_the_order_in_which_jobs_and_attempts_are_told(situation, chance) -> None:
    devices, waiting, holders = situation
    planned = plan(devices, waiting, holders)
    chance.shuffle(waiting)
    chance.shuffle(holders)
    again = plan(devices, waiting, holders)
    assert (again.starts, again.blocked) == (planned.starts, planned.blocked)
    assert set(again.preemptions) == set(planned.preemptions)


@given(situations())
def test_a_preemption_takes_from_lower_priorities_alone_and_lets_the_job_fit_with_no_attempt_too_many(
    situation,
) -> None:
    devices, waiting, holders = situation
    planned = plan(devices, waiting, holders)
    moved = [preemption.holder.uid for preemption in planned.preemptions]
    assert len(moved) == len(set(moved))
    free = left_over(planned, devices, holders)
    coming = {name for holder in holders if holder.is_ending for name in holder.devices}
    everybody = {name for preemption in planned.preemptions for name in preemption.holder.devices}
    for waits in {preemption.waiting for preemption in planned.preemptions}:
        chosen = [preemption.holder for preemption in planned.preemptions if preemption.waiting == waits]
        assert all(holder.may_make_room and holder.priority < waits.priority for holder in chosen)
        assert waits.uid in planned.blocked
        assert fits(waits.demand, free | coming | everybody)
        if len({preemption.waiting for preemption in planned.preemptions}) == 1 and len(planned.blocked) == 1:
            for fewer in combinations(chosen, len(chosen) - 1):
                vacated = {name for holder in fewer for name in holder.devices}
                assert not fits(waits.demand, free | coming | vacated)


def test_the_lowest_priority_makes_room_first_and_among_equals_the_youngest_job() -> None:
    devices = Devices((), 3)
    holders = [
        holder(1, ["CPU:0"], -1, movable=True),
        holder(2, ["CPU:1"], -1, movable=True),
        holder(3, ["CPU:2"], 0, movable=True),
    ]
    (preemption,) = plan(devices, [job(9, Demand(0, 1), priority=5)], holders).preemptions
    assert preemption.holder.uid == "held-2"


def test_nobody_makes_room_for_a_job_that_would_not_fit_all_the_same() -> None:
    devices = Devices(("0", "1"), 1)
    holders = [holder(1, ["GPU:0"], movable=True), holder(2, ["GPU:1"])]
    planned = plan(devices, [job(9, Demand(2, 0), priority=5)], holders)
    assert (planned.preemptions, planned.blocked) == ((), ("job-9",))


def test_what_is_being_ended_is_waited_for_before_anybody_else_makes_room() -> None:
    devices = Devices(("0", "1"), 1)
    holders = [holder(1, ["GPU:0"], movable=True), holder(2, ["GPU:1"], ending=True)]
    planned = plan(devices, [job(8, Demand(1, 0), priority=5), job(9, Demand(1, 0))], holders)
    assert (planned.preemptions, planned.blocked) == ((), ("job-8", "job-9"))


def test_free_devices_are_kept_for_a_job_that_fits_as_soon_as_what_is_being_ended_has_ended() -> None:
    devices = Devices(("0", "1"), 1)
    holders = [holder(1, ["GPU:1"], ending=True)]
    small = job(9, Demand(1, 0))
    assert plan(devices, [job(8, Demand(2, 0)), small], holders).starts == ()
    assert [start.uid for start in plan(devices, [small], holders).starts] == ["job-9"]


def test_later_jobs_run_beside_a_blocked_one_until_devices_are_held_back_for_it() -> None:
    devices = Devices(("0", "1", "2"), 1)
    holders = [holder(1, ["GPU:0", "GPU:1"])]
    waiting = [job(7, Demand(2, 0)), job(8, Demand(1, 0)), job(9, Demand(0, 1))]
    assert [start.uid for start in plan(devices, waiting, holders).starts] == ["job-8", "job-9"]
    held = plan(devices, waiting, holders, starved={"job-7"})
    assert [start.uid for start in held.starts] == ["job-9"], "a CPU slot is nothing that it could use"


def test_devices_are_held_back_for_the_first_starved_job_alone() -> None:
    devices = Devices(("0", "1"), 1)
    holders = [holder(1, ["GPU:0"])]
    first, second = job(7, Demand(2, 0)), job(8, Demand(2, 0), priority=1)
    planned = plan(devices, [first, second, job(9, Demand(1, 0), priority=0)], holders, starved={"job-7"})
    assert planned.starts == ()
    assert planned.blocked == ("job-8", "job-7", "job-9")


def test_a_job_of_more_than_the_server_owns_holds_nothing_back() -> None:
    devices = Devices(("0",), 1)
    planned = plan(devices, [job(1, Demand(2, 0), priority=9), job(2, Demand(1, 0))], [], starved={"job-1"})
    assert ([start.uid for start in planned.starts], planned.blocked) == (["job-2"], ())


@settings(max_examples=50)
@given(st.integers(2, 4), st.lists(st.integers(1, 5), min_size=1, max_size=8), st.integers(0, 10))
def test_a_big_job_starts_however_many_small_ones_keep_coming(gpus: int, lasting: list[int], patience: int) -> None:
    """Small jobs of random lengths keep every device busy; each tick brings as many new ones as there are devices."""
    devices = Devices(tuple(map(str, range(gpus))), 1)
    big, running, number = job(0, Demand(gpus, 0)), {}, 0
    waiting: list[Waiting] = [big]
    for tick in range(200):
        running = {start: until for start, until in running.items() if until > tick}
        for _ in range(gpus):
            number += 1
            waiting.append(job(number, Demand(1, 0)))
        holders = [holder(1000 + n, start.devices) for n, start in enumerate(running)]
        if tick == 0:
            holders = [holder(1000, [devices.names[0]])]
        starved = {big.uid} if tick > patience else set()
        planned = plan(devices, waiting, holders, starved)
        for start in planned.starts:
            if start.uid == big.uid:
                assert tick <= patience + 1 + max(lasting)
                return
            running[start] = tick + lasting[number % len(lasting)]
        started = {start.uid for start in planned.starts}
        waiting = [waits for waits in waiting if waits.uid not in started]
    raise AssertionError("the big job never started")
