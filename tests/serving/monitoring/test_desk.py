"""The thread that looks for drift: bounded, and never in the way."""

import threading

import numpy as np
import pytest

from martensite.serving.monitoring.desk import Desk, Paper


class Watch:
    """Keeps what it is shown; ``gate`` holds it up."""

    def __init__(self):
        self.seen, self.gate = [], threading.Event()
        self.gate.set()

    def see(self, x, logits, p_value, moment):
        self.gate.wait(30)
        if x[0, 0] < 0:
            raise ValueError("no such thing")
        self.seen.extend(x[:, 0].tolist())


def paper(watch, *values):
    x = np.array(values, np.float32)[:, None]
    return Paper(watch, x, x, np.full(len(x), np.nan), 1.0)


@pytest.fixture
def desk():
    complaints = []
    desk = Desk(1.0, 10, complaints.append)
    desk.complaints = complaints
    yield desk
    desk.close()


def test_everything_is_seen_in_order(desk):
    watch = Watch()
    for one in range(8):
        assert desk.put(paper(watch, one))
    assert desk.settle()
    assert watch.seen == [0, 1, 2, 3, 4, 5, 6, 7]


def test_what_has_no_room_is_passed_over_at_once(desk):
    watch = Watch()
    watch.gate.clear()
    taken = [desk.put(paper(watch, *range(4))) for _ in range(10)]
    assert taken[:2] == [True, True]
    assert not all(taken)
    watch.gate.set()
    assert desk.settle()
    assert len(watch.seen) == 4 * sum(taken)


def test_two_watches_are_kept_apart(desk):
    one, other = Watch(), Watch()
    for place in range(3):
        desk.put(paper(one, place))
        desk.put(paper(other, 10 + place))
    assert desk.settle()
    assert (one.seen, other.seen) == ([0, 1, 2], [10, 11, 12])


def test_an_error_is_said_and_the_next_is_seen(desk):
    watch = Watch()
    desk.put(paper(watch, -1))
    assert desk.settle()
    desk.put(paper(watch, 5))
    assert desk.settle()
    assert watch.seen == [5]
    assert "no such thing" in desk.complaints[0]


def test_after_the_end_nothing_is_taken(desk):
    desk.put(paper(Watch(), 1))
    desk.close()
    assert not desk.put(paper(Watch(), 1))
    assert not [one for one in threading.enumerate() if one is desk._thread]


def test_it_takes_no_more_than_its_share():
    """Its own clock runs only while it works, the process's with whatever there is: after each look it owes the rest."""
    clocks = {"mine": 0.0, "whole": 100.0}

    class Slow(Watch):
        def see(self, x, logits, p_value, moment):
            super().see(x, logits, p_value, moment)
            clocks["mine"] += 0.5
            clocks["whole"] += 0.5

    desk, watch = Desk(0.02, 10, [].append, lambda: clocks["mine"], lambda: clocks["whole"]), Slow()
    for turn in range(1, 4):
        desk.put(paper(watch, turn))
        assert desk.settle()
        assert desk.spent == 0.5 * turn
        clocks["whole"] = desk.due
        assert desk.spent / (clocks["whole"] - 100.0) == pytest.approx(0.02)
    desk.close()
