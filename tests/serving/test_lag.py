"""How late the event loop is, and who is turned away for it."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from martensite.serving.lag import TICK, Lag
from martensite.serving.refusal import Refusal


class Clock:
    def __init__(self):
        self.moment = 50.0

    def __call__(self):
        return self.moment


def turn(lag, clock, late):
    lag.begin()
    clock.moment += TICK + late
    lag.end()


def test_two_timers_in_a_row_tell_how_late_it_is():
    clock = Clock()
    lag = Lag(clock)
    assert lag.seconds == 0
    turn(lag, clock, 0.7)  # a pause, which may be over
    assert lag.seconds == 0
    turn(lag, clock, 0.0)
    assert lag.seconds == pytest.approx(0)
    turn(lag, clock, 0.5)
    turn(lag, clock, 0.9)
    clock.moment += 10.0
    assert lag.seconds == pytest.approx(0.5)
    lag.begin()
    clock.moment += TICK + 0.8  # overdue: that is known before it goes off
    assert lag.seconds == pytest.approx(0.8)
    lag.end()
    turn(lag, clock, 0.0)
    assert lag.seconds == pytest.approx(0)


def test_a_loop_that_is_held_up_again_and_again_is_late():
    async def main():
        lag = Lag()
        watch = asyncio.create_task(lag.watch())
        await asyncio.sleep(0)
        for _ in range(2):
            time.sleep(TICK + 0.1)
            seen = lag.seconds
            for _ in range(5):  # turns that the timer's task takes
                await asyncio.sleep(0)
        watch.cancel()
        return seen

    assert asyncio.run(main()) >= 0.1


@pytest.mark.parametrize(
    ("late", "queued", "refused"), [(0.0, 5.0, False), (0.4, 0.5, False), (0.6, 0.5, True), (1.5, 0.0, True)]
)
def test_lag_and_queue_together_keep_the_bound(late, queued, refused):
    lag = Lag()
    lag._before = lag._late = late  # an idle loop leaves it to the queue
    if not refused:
        lag.admit(queued, 1.0)
        return
    with pytest.raises(Refusal) as caught:
        lag.admit(queued, 1.0)
    assert caught.value.status == 429
    assert caught.value.retry_after == pytest.approx(late + queued - 1.0)


def test_a_late_server_answers_429_before_it_reads_the_request(served, x):
    server = served()
    server.fleet.lag = SimpleNamespace(seconds=3.2, admit=lambda *asked: late.admit(*asked))
    late = Lag()
    late._before = late._late = 3.2
    answer = server.infer(x)
    assert answer.status_code == 429
    assert int(answer.headers["Retry-After"]) >= 2
    assert "connection" not in answer.headers  # its body was read: the connection stays
    assert server.post("/v2/models/tiny/infer", content=b"nonsense").status_code == 429
    assert "martensite_event_loop_lag_seconds 3.2" in server.get("/metrics").text
    assert server.recorder.replies[-1].status == 429
    late._late = 0.0
    assert server.infer(x).status_code == 200
