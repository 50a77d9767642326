"""Turns: one piece of work at a time, in the order it was asked for, told how many ask."""

from __future__ import annotations

import threading
import time

import pytest

from dashboard.components.latent_sliders import steps_in_a_crowd
from dashboard.components.latent_sliders.strips import AT_ONCE, STEPS, STEPS_IN_A_CROWD
from dashboard.turns import Turns


def test_work_is_done_one_at_a_time_in_the_order_it_was_asked_for() -> None:
    turns, gate, done = Turns(clock=lambda: 0.0), threading.Event(), []
    inside = 0

    def work(number: int) -> int:
        nonlocal inside
        inside += 1
        assert inside == 1
        if number == 0:
            gate.wait(20)
        done.append(number)
        inside -= 1
        return 10 * number

    results: dict[int, int] = {}
    threads = []
    for number in range(5):
        ask = threading.Thread(target=lambda n=number: results.update({n: turns.take(lambda _: work(n))}))
        ask.start()
        threads.append(ask)
        while turns.crowd <= number:  # until it has asked
            time.sleep(0.001)
    gate.set()
    for ask in threads:
        ask.join(20)
    assert done == [0, 1, 2, 3, 4]
    assert results == {number: 10 * number for number in range(5)}


def test_a_crowd_is_who_asked_within_the_last_second() -> None:
    now = 0.0
    turns = Turns(clock=lambda: now)
    assert [turns.take(lambda crowd: crowd) for _ in range(3)] == [1, 2, 3]
    now = 0.9
    assert turns.take(lambda crowd: crowd) == 4
    now = 1.5
    assert turns.take(lambda crowd: crowd) == 2
    now = 9.0
    assert turns.crowd == 0
    assert turns.take(lambda crowd: crowd) == 1


def test_an_error_reaches_who_asked_and_the_next_is_served() -> None:
    turns = Turns()

    def fail(crowd: int) -> None:
        raise ValueError("no such point")

    with pytest.raises(ValueError, match="no such point"):
        turns.take(fail)
    assert turns.take(lambda _: 7) == 7


def test_work_is_done_in_a_thread_of_its_own() -> None:
    turns = Turns()
    names = {turns.take(lambda _: threading.current_thread().name) for _ in range(3)}
    assert len(names) == 1
    assert threading.current_thread().name not in names


def test_strips_have_fewer_steps_the_more_are_asked_for() -> None:
    steps = [steps_in_a_crowd(crowd) for crowd in range(30)]
    assert steps[: AT_ONCE + 1] == [STEPS] * (AT_ONCE + 1)
    assert steps == sorted(steps, reverse=True)
    assert min(steps) == STEPS_IN_A_CROWD
