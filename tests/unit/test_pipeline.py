"""Steps that overlap: order, errors, ending early, and who was busy how long."""

import subprocess
import sys
import threading
import time

import pytest

from emopipe.stages.pipeline import Prefetch, StepClock

DEPTH = 2


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = threading.active_count()
    yield
    wait_until(lambda: threading.active_count() == before)


def numbers(count, log=None, fail_at=None):
    try:
        for number in range(count):
            if number == fail_at:
                raise ValueError(f"number {number}")
            if log is not None:
                log.append(number)
            yield number
    finally:
        if log is not None:
            log.append("closed")


# --- Prefetch


@pytest.mark.parametrize("count", [0, 1, DEPTH, DEPTH + 1, 500])
def test_items_come_in_order(count):
    assert list(Prefetch(numbers(count), DEPTH, "n")) == list(range(count))


def test_it_works_before_it_is_asked_and_only_so_far_ahead():
    log = []
    ahead = Prefetch(numbers(100, log), DEPTH, "n")
    wait_until(lambda: len(log) == DEPTH + 1)  # two are ready and one waits for room
    time.sleep(0.05)
    assert len(log) == DEPTH + 1
    assert next(ahead) == 0
    wait_until(lambda: len(log) == DEPTH + 2)
    ahead.close()


def test_an_error_comes_at_the_place_of_the_item_it_prevented():
    ahead = Prefetch(numbers(10, fail_at=3), DEPTH, "n")
    assert [next(ahead) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="number 3"):
        next(ahead)
    assert list(ahead) == [], "after an error there is nothing more"


def test_closing_early_ends_the_thread_and_the_source():
    log = []
    ahead = Prefetch(numbers(1000, log), DEPTH, "n")
    assert next(ahead) == 0
    ahead.close()
    assert log[-1] == "closed"
    assert list(ahead) == []
    ahead.close()


def test_closing_a_chain_ends_all_of_it():
    log = []
    inner = Prefetch(numbers(1000, log), DEPTH, "inner")
    outer = Prefetch((2 * number for number in inner), DEPTH, "outer")
    clock = StepClock()
    last = Prefetch(clock.step("last", lambda items: (item + 1 for item in items), outer), DEPTH, "last")
    assert next(last) == 1
    before = threading.active_count()
    last.close()
    outer.close()
    inner.close()
    assert threading.active_count() == before - 3
    assert log[-1] == "closed"


def test_an_error_passes_through_a_chain():
    clock = StepClock()
    decoded = Prefetch(clock.source("decode", numbers(10, fail_at=4)), DEPTH, "decode")
    doubled = Prefetch(clock.step("detect", lambda items: (2 * item for item in items), decoded), DEPTH, "detect")
    seen = []
    with pytest.raises(ValueError, match="number 4") as caught:
        for item in doubled:
            seen.append(item)
    assert seen == [0, 2, 4, 6]
    assert caught.value.step == "decode", "the error belongs to the step in which it arose"
    decoded.close()


# --- StepClock


def slow(seconds):
    def function(items):
        for item in items:
            time.sleep(seconds)
            yield item

    return function


def test_a_step_counts_its_own_time_and_not_the_waiting():
    clock = StepClock()
    source = clock.source("decode", slow(0.02)(range(5)))
    detected = clock.step("detect", slow(0.01), source)
    begun, consumer_s = time.perf_counter(), 0.0
    for _ in clock.step("align", lambda items: items, detected):
        start = time.perf_counter()
        time.sleep(0.02)
        consumer_s += time.perf_counter() - start
    wall_s = time.perf_counter() - begun
    assert clock.seconds["decode"] >= 0.1
    assert clock.seconds["detect"] >= 0.05
    assert clock.seconds["align"] < 0.02
    assert sum(clock.seconds.values()) <= wall_s - consumer_s, "no second is counted twice"


def test_a_step_that_waits_in_another_thread_is_not_busy():
    clock = StepClock()
    source = Prefetch(clock.source("decode", slow(0.02)(range(5))), DEPTH, "decode")
    assert list(clock.step("detect", lambda items: (2 * item for item in items), source)) == [0, 2, 4, 6, 8]
    assert clock.seconds["decode"] >= 0.1
    assert clock.seconds["detect"] < 0.05


def test_a_step_may_give_more_or_fewer_items_than_it_takes():
    clock = StepClock()

    def pairs(items):
        for item in items:
            yield item, next(items, None)

    assert list(clock.step("pairs", pairs, range(5))) == [(0, 1), (2, 3), (4, None)]
    assert list(clock.step("twice", lambda items: (item for item in items for _ in range(2)), range(2))) == [0, 0, 1, 1]


def test_closing_a_step_closes_what_it_reads():
    log = []
    step = StepClock().step("s", lambda items: (item for item in items), numbers(10, log))
    assert next(step) == 0
    step.close()
    assert log[-1] == "closed"


def test_an_error_of_a_step_carries_its_name():
    def broken(items):
        next(items)
        raise KeyError("no")
        yield

    with pytest.raises(KeyError) as caught:
        list(StepClock().step("align", broken, range(3)))
    assert caught.value.step == "align"


def test_seconds_measured_elsewhere_are_added():
    clock = StepClock()
    clock.add("write", 1.5)
    clock.add("write", 0.5)
    assert clock.seconds["write"] == 2.0


LEFT_OPEN = """
import itertools
from emopipe.stages.pipeline import Prefetch

def numbers():
    try:
        yield from itertools.count()
    finally:
        print("closed", flush=True)

items = Prefetch(Prefetch(numbers(), 2, "inner"), 2, "outer")
next(items)
raise KeyboardInterrupt
"""


def test_what_was_left_open_is_closed_before_the_interpreter_ends():
    ended = subprocess.run([sys.executable, "-c", LEFT_OPEN], capture_output=True, text=True, timeout=60)
    assert ended.stdout == "closed\n"
    assert ended.stderr.strip().endswith("KeyboardInterrupt")
