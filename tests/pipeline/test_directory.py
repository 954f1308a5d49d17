"""The run directory belongs to one run: nothing else is written to, mixed up or lost."""

import json
import os
import shutil

import numpy as np
import pytest

from martensite.core.errors import ArtifactError, RunError, StorageError
from martensite.pipeline import Pipeline, check_place, run
from martensite.pipeline.directory import opened
from martensite.pipeline.stages import STAGES


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def copy(reference, tmp_path):
    """A finished run that may be spoilt."""
    shutil.copytree(reference[1], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("name", ["notes.txt", "report.json", "model", ".hidden", "run.json.bak", ".lock.txt"])
def test_a_foreign_directory_is_refused_and_untouched(name, plan, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("precious")
    with pytest.raises(RunError, match="is not empty and holds no run"):
        run(plan, out)
    assert tree(out) == {name: b"precious"}


@pytest.mark.parametrize("document", ["", "{", "[]", "3", "{}", '{"format": "martensite-run-1"}', '{"format": 1}', "[" * 99999])
def test_a_foreign_run_json_is_refused_and_untouched(document, plan, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run.json").write_text(document)
    with pytest.raises(RunError, match="holds no run"):
        run(plan, tmp_path / "out")
    assert tree(tmp_path / "out") == {"run.json": document.encode()}


def test_a_file_is_refused(plan, data):
    before = data.read_bytes()
    with pytest.raises(RunError, match="is a file"):
        run(plan, data)
    with pytest.raises(StorageError, match="can't be written"):
        run(plan, data / "below")
    assert data.read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 4}, "seed"),
        ({"threat": {"norm": "linf", "eps": 0.2}}, "threat"),
        ({"seed": 4, "gate": {}, "name": "b"}, "gate, name, seed"),
        ({"suite": "quick"}, "suite"),
    ],
    ids=str,
)
def test_another_run_is_refused_by_what_differs_and_untouched(changes, named, reference):
    plan, out, _, _ = reference
    before = tree(out)
    other = Pipeline.parse(plan.model_dump(mode="json") | changes)
    with pytest.raises(RunError, match=rf"it differs in: {named}\)"):
        run(other, out)
    assert tree(out) == before


def test_a_run_of_another_version_with_other_keys_is_refused(plan, tmp_path):
    (tmp_path / "out").mkdir()
    document = {"format": "martensite-run-1", "digest": "sha256:0", "pipeline": plan.model_dump(mode="json") | {"old": 1}}
    (tmp_path / "out" / "run.json").write_text(json.dumps(document))
    with pytest.raises(RunError, match=r"differs in: old\)"):
        run(plan, tmp_path / "out")


def test_an_empty_directory_is_taken(plan, tmp_path):
    (tmp_path / "out").mkdir()
    check_place(tmp_path / "out", plan)
    with opened(tmp_path / "out", plan, tuple(STAGES)) as directory:
        assert not any(directory.finished(name) for name in STAGES)


def test_a_directory_of_a_run_killed_before_its_first_file_is_taken(plan, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".lock").touch()
    (out / ".run.json.x1y2z3.tmp").write_text('{"form')
    with opened(out, plan, tuple(STAGES)):
        assert {path.name for path in out.iterdir()} == {".lock", "run.json"}


def test_what_a_killed_write_left_is_cleared_away(plan, tmp_path, litter):
    out = tmp_path / "out"
    with opened(out, plan, tuple(STAGES)):
        pass
    for name in (".model.a1.tmp", ".model.a1.old", "stages/.04-harden.b2.tmp", "stages/.04-harden.b2.old"):
        (out / name / "within").mkdir(parents=True)
    (out / "work").mkdir()
    (out / "work" / ".harden.safetensors.c3.tmp").touch()
    (out / "work" / "harden.safetensors").touch()
    (out / ".report.json.d4.tmp").touch()
    with opened(out, plan, tuple(STAGES)) as directory:
        assert litter(out) == [out / "work"]
        assert (directory.work / "harden.safetensors").exists()


def test_a_directory_in_use_is_refused(plan, tmp_path):
    with opened(tmp_path / "out", plan, tuple(STAGES)):
        with pytest.raises(RunError, match="another process is working on this run"):
            run(plan, tmp_path / "out")
        assert not list((tmp_path / "out").glob("stages/*"))
    with opened(tmp_path / "out", plan, tuple(STAGES)):
        pass


def test_whoever_comes_second_sees_what_the_first_began(plan, tmp_path, monkeypatch):
    """The first look finds nothing; before the lock is taken another process begins a run and ends."""
    out, other = tmp_path / "out", plan.model_copy(update={"seed": 9})
    looks = []

    def slow(path, pipeline, look=check_place):
        look(path, pipeline)
        if not looks:
            looks.append(path)
            with opened(out, other, tuple(STAGES)):
                pass

    monkeypatch.setattr("martensite.pipeline.directory.check_place", slow)
    with pytest.raises(RunError, match="differs in: seed"), opened(out, plan, tuple(STAGES)):
        pass


def test_changed_data_is_refused_on_resume(plan, data, images, tmp_path):
    run(plan, tmp_path / "out")
    before = tree(tmp_path / "out")
    x, y = images()
    x[0, 0, 0, 0] += 0.01
    np.savez(data, x=x, y=y)
    with pytest.raises(RunError, match=r"data has digest sha256.*the run began with sha256.*restore the data"):
        run(plan, tmp_path / "out")
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("gone", ["model", "report.json", "report.html"])
def test_outputs_that_were_deleted_are_made_again(gone, reference, copy, figures):
    path = copy / gone
    before = tree(copy)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert figures(run(reference[0], copy)) == figures(reference[2])
    assert {name for name in tree(copy) if not name.endswith("timing.json")} == {
        name for name in before if not name.endswith("timing.json")
    }


def test_a_stage_that_was_deleted_is_repeated(reference, copy, figures):
    shutil.rmtree(copy / "stages" / "06-certify")
    shutil.rmtree(copy / "stages" / "09-report")
    assert figures(run(reference[0], copy)) == figures(reference[2])


DAMAGED = [
    ("01-data/data.json", "report"),
    ("02-train/training.json", "report"),
    ("02-train/timing.json", "report"),
    ("02-train/model/model.safetensors", "attack"),
    ("04-harden/model/model.json", "certify"),
    ("05-evaluate/hardened.json", "gate"),
    ("05-evaluate/baseline.safetensors", "report"),
    ("05-evaluate/transfer.json", "report"),
    ("06-certify/certificates.json", "report"),
    ("07-bundle/bundle.json", "report"),
    ("08-gate/verdict.json", "report"),
]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", None], ids=["empty", "truncated", "list", "mapping", "missing"])
@pytest.mark.parametrize(("file", "redo"), DAMAGED)
def test_a_damaged_stage_is_named_and_no_traceback(file, redo, content, reference, copy):
    """Whatever happened to a finished stage's file, the run ends with an error of ours that names it."""
    path = copy / "stages" / file
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    for name in list(STAGES)[list(STAGES).index(redo) :]:
        shutil.rmtree(next((copy / "stages").glob(f"*-{name}")))
    with pytest.raises(ArtifactError, match=file.partition("/")[0]):
        run(reference[0], copy)


def test_a_damaged_report_is_named(reference, copy):
    (copy / "report.json").write_bytes((copy / "report.json").read_bytes()[:500])
    with pytest.raises(ArtifactError, match=r"report\.json"):
        run(reference[0], copy)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_place_without_permission_is_refused(plan, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(StorageError, match="Permission denied"):
        run(plan, tmp_path / "locked" / "out")
