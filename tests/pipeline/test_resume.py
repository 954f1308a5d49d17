"""A run that was killed, interrupted or out of space goes on and ends as if nothing had happened."""

import errno
import os
import random
import time

import pytest

from martensite.core.errors import RunError, StorageError
from martensite.pipeline import run

MOMENTS = random.Random(2).sample(range(1000), 10)  # thousandths of a run


class Cut(Exception):
    """Raised by a listener, to end a run at a chosen event."""


def cut_at(stage, count=1, unit=""):
    seen = []

    def listen(event):
        if event.stage == stage and event.unit == unit:
            seen.append(event)
            if len(seen) == count:
                raise Cut

    return listen


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment(moment, reference, figures, litter, elsewhere, tmp_path):
    plan, _, report, seconds = reference
    process = elsewhere(plan, tmp_path / "out")
    process.join(moment / 1000 * seconds)
    process.kill()
    process.join()
    assert figures(run(plan, tmp_path / "out")) == figures(report)
    assert not litter(tmp_path / "out")


@pytest.mark.parametrize("mark", ["work/train.safetensors", "stages/03-attack", "work/harden.safetensors", "stages/07-bundle"])
def test_killed_when_a_file_appears(mark, reference, figures, litter, elsewhere, tmp_path):
    plan, _, report, _ = reference
    process = elsewhere(plan, tmp_path / "out")
    while process.is_alive() and not (tmp_path / "out" / mark).exists():
        time.sleep(0.001)
    process.kill()
    process.join()
    assert figures(run(plan, tmp_path / "out")) == figures(report)
    assert not litter(tmp_path / "out")


def test_killed_again_and_again(reference, figures, elsewhere, tmp_path):
    plan, _, report, seconds = reference
    for _ in range(4):
        process = elsewhere(plan, tmp_path / "out")
        process.join(seconds / 4)
        process.kill()
        process.join()
    assert figures(run(plan, tmp_path / "out")) == figures(report)


@pytest.mark.parametrize(("stage", "count", "unit"), [("train", 2, "epoch"), ("harden", 1, "epoch"), ("harden", 3, "epoch")])
def test_cut_off_in_the_middle_of_training(stage, count, unit, reference, figures, litter, tmp_path):
    plan, _, report, _ = reference
    with pytest.raises(Cut):
        run(plan, tmp_path / "out", listener=cut_at(stage, count, unit))
    epochs = []
    again = run(plan, tmp_path / "out", listener=lambda event: epochs.append(event) if event.unit == "epoch" else None)
    assert figures(again) == figures(report)
    assert len([event for event in epochs if event.stage == stage]) == 3 - count  # finished epochs are not repeated
    assert not litter(tmp_path / "out")


@pytest.mark.parametrize("stage", ["data", "train", "attack", "harden", "evaluate", "certify", "bundle", "gate", "report"])
def test_ctrl_c_keeps_finished_stages_and_no_litter(stage, reference, tmp_path, litter):
    plan = reference[0]

    def listen(event):
        if event.stage == stage:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(plan, tmp_path / "out", listener=listen)
    finished = sorted(path.name[3:] for path in (tmp_path / "out").glob("stages/*"))
    assert stage not in finished
    assert len(finished) == ["data", "train", "attack", "harden", "evaluate", "certify", "bundle", "gate", "report"].index(stage)
    assert not litter(tmp_path / "out")


def test_a_second_process_on_the_same_directory_is_refused(reference, figures, elsewhere, tmp_path):
    plan, _, report, _ = reference
    process = elsewhere(plan, tmp_path / "out")
    while process.is_alive() and not (tmp_path / "out" / "run.json").exists():
        time.sleep(0.001)
    with pytest.raises(RunError, match="another process is working on this run"):
        run(plan, tmp_path / "out")
    process.join()
    assert process.exitcode == 0
    assert figures(run(plan, tmp_path / "out")) == figures(report)


def test_a_disk_that_fills_up_again_and_again(reference, figures, litter, tmp_path, monkeypatch):
    """Every few writes the disk is full, then someone makes room: each time all finished stages are kept."""
    plan, _, report, _ = reference
    calls, before, kept, complaints = [], os.fsync, 0, []

    def fsync(handle):
        calls.append(handle)
        if len(calls) % 7 == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        before(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    result = None
    while result is None:
        try:
            result = run(plan, tmp_path / "out")
        except StorageError as error:
            complaints.append(str(error))
            finished = len(list((tmp_path / "out").glob("stages/*")))
            assert finished >= kept
            kept = finished
            assert not [path for path in litter(tmp_path / "out") if path.name != "work"]
    assert len(complaints) > 2
    assert all("No space left" in complaint and "--resume" in complaint for complaint in complaints)
    assert figures(result) == figures(report)
    assert not litter(tmp_path / "out")


def test_a_disk_that_is_full_from_the_start(plan, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError):
        run(plan, tmp_path / "out")
    monkeypatch.undo()
    assert run(plan, tmp_path / "out").verdict.verdict == "PASS"
