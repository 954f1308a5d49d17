"""Stage 7: the hardened model as a bundle that loads without running code."""

from pathlib import Path

from martensite.artifacts import load_bundle, read_manifest, save_bundle
from martensite.artifacts.reference import add_reference
from martensite.core.files import write_text
from martensite.models.digest import model_digest
from martensite.pipeline.context import Run
from martensite.pipeline.records import Bundled


def bundle_stage(run: Run, folder: Path) -> None:
    """Leaves model/ at the top of the run directory, with statistics of the test data in it, and bundle.json with its digest."""
    source = run.directory.stage("harden") / "model"
    target = run.directory.path / "model"
    save_bundle(run.hardened(), target, threat=run.pipeline.threat, class_names=read_manifest(source).class_names)
    if run.statistics is not None and (content := run.statistics(run.hardened(), run.held_out())) is not None:
        add_reference(target, content)
    write_text(folder / "bundle.json", Bundled(digest=model_digest(load_bundle(target))).model_dump_json())
