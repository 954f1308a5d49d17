"""benchmarks/soak.py in short: twice what a server can, and a server that is killed in the middle of it."""

import asyncio
import importlib.util
from pathlib import Path

import pytest

from martensite.artifacts.audit.database import Database
from martensite.artifacts.audit.verify import verify_log

SOAK = Path(__file__).parents[2] / "benchmarks" / "soak.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def soak():
    spec = importlib.util.spec_from_file_location("soak", SOAK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_answers_rightly_or_says_later_and_its_memory_is_flat(soak, tmp_path):
    found = soak.soak(tmp_path, 20.0)
    assert found.wrong == []
    assert set(found.statuses) <= {200, 429}
    assert found.statuses[200] > 0
    assert found.flat, found.memory
    assert found.code == 0


def test_killed_under_load_it_comes_back_and_its_log_is_whole(soak, tmp_path):
    token = soak.prepare(tmp_path)
    questions = soak.ask_about(tmp_path, token)

    async def load(server, found, answers, kill):
        async def ask(connection, place):
            while found.statuses[200] < answers and server.process.poll() is None:
                found.statuses[await connection.ask(*questions[place % len(questions)])] += 1
                place += 1
            connection.close()

        connections = [soak.Connection(server, found) for _ in range(16)]
        asking = [asyncio.create_task(ask(one, place)) for place, one in enumerate(connections)]
        while kill and found.statuses[200] < answers // 2:
            await asyncio.sleep(0.01)
        if kill:
            server.process.kill()
        await asyncio.gather(*asking)

    with soak.Server(tmp_path, 1) as first:
        before = soak.Soak()
        asyncio.run(load(first, before, 200, kill=True))
    assert before.statuses[200] >= 100
    assert all(one.startswith("no answer") for one in before.wrong)
    with soak.Server(tmp_path, 1) as second:
        after = soak.Soak()
        asyncio.run(load(second, after, 100, kill=False))
    assert after.wrong == []
    assert second.code == 0
    database = Database(str(tmp_path / "audit.db"))
    try:
        assert verify_log(database).whole
    finally:
        database.close()
