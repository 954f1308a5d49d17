"""Claims: only those count that were signed by a key of the right role, about this very model, unaltered."""

import json
import multiprocessing
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from martensite.artifacts.attest import KINDS, Subject, acceptable, append_claim, make_claim, predicate_of, read_claims
from martensite.artifacts.attest.predicates import Approval, Release
from martensite.artifacts.attest.schemas import schema_text, shipped
from martensite.artifacts.bundle import load_bundle, save_bundle
from martensite.artifacts.moments import now
from martensite.artifacts.signing import PrivateKey
from martensite.artifacts.signing.dsse import read_envelope, seal
from martensite.core.errors import ArtifactError, ConfigError
from martensite.evaluation import RunReport


def refusals(path, bundle, trust, at=None):
    return [claim.refusal for claim in read_claims(path, Subject.of(bundle), trust, at or now())]


def test_every_kind_of_claim_counts_and_fits_its_schema(claims, bundle, trust):
    found = read_claims(claims, Subject.of(bundle), trust, now())
    assert [claim.refusal for claim in found] == [""] * 9
    assert {claim.kind for claim in found} == set(KINDS) - {"verdict", "suspension"}
    for claim in found:
        jsonschema.validate(claim.predicate.model_dump(mode="json"), json.loads(shipped(claim.kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_schemas_are_those_of_the_classes(kind):
    assert shipped(kind) == schema_text(kind)
    jsonschema.Draft202012Validator.check_schema(json.loads(shipped(kind)))


def test_robustness_carries_what_the_figure_depends_on(claims, bundle, trust, digits_run):
    report = RunReport.load(digits_run / "report.json").hardened
    claim = acceptable(read_claims(claims, Subject.of(bundle), trust, now()), "robustness")[0].predicate
    assert claim.threat == report.threat
    assert claim.robust_accuracy == report.robust_accuracy
    assert (claim.n, claim.seeds, claim.data.digest) == (200, (report.seed,), report.data.digest)
    assert claim.suite.name == "two"
    assert claim.harness.digest.startswith("sha256:")
    assert claim.serving.dtype == "float32"
    assert [row.name for row in claim.attacks] == [row.name for row in report.attacks]


def test_a_report_about_another_model_makes_no_claim(bundle, digits_run):
    model = load_bundle(bundle)
    next(model.net.parameters()).data[0, 0] += 1
    other = save_bundle(model, bundle.with_name("other"))
    for kind in ("robustness", "certification", "training", "data"):
        with pytest.raises(ArtifactError, match="evidence is about the very model"):
            predicate_of(kind, Subject.of(other), digits_run / "report.json", {}, now())


def test_a_claim_about_another_model_or_other_files_does_not_count(claims, bundle, trust):
    model = load_bundle(bundle)
    other = save_bundle(model, bundle.with_name("renamed"), class_names=tuple("0123456789"))
    found = read_claims(claims, Subject.of(other), trust, now())
    about_files = {claim.kind for claim in found if "about other files" in claim.refusal}
    assert about_files == {"scan", "bom", "release", "approval"}
    assert all(not claim.refusal for claim in found if claim.kind not in about_files)  # the model is the same
    next(model.net.parameters()).data[0, 0] += 1
    another = save_bundle(model, bundle.with_name("another"))
    assert all("does not count: it is about" in text for text in refusals(claims, another, trust))


def test_each_claim_takes_its_role(bundle, trust, keys, tmp_path):
    subject, path = Subject.of(bundle), tmp_path / "claims.jsonl"
    append_claim(path, make_claim(subject, Approval(created=now(), reason="mine"), keys["release"]), bundle=bundle)
    assert "'release' of release's owner has the role release, not approver" in refusals(path, bundle, trust)[0]


def test_unknown_keys_and_damage_are_named(claims, bundle, trust, keys):
    subject = Subject.of(bundle)
    stranger = make_claim(subject, Release(created=now(), name="x", version=1), PrivateKey.new())
    append_claim(claims, stranger, bundle=bundle)
    append_claim(claims, "not json", bundle=bundle)
    statement = read_envelope(claims.read_bytes().split(b"\n")[0], "it").open(keys["evaluator"].public)
    for change in ({"predicateType": "https://x/y"}, {"subject": []}, {"predicate": {"created": "2026-01-01"}}):
        append_claim(claims, seal(statement | change, keys["evaluator"]), bundle=bundle)
    told = refusals(claims, bundle, trust)[9:]
    for text, expected in zip(
        told,
        ["unknown key", "is damaged", "something unknown", "does not say which model", "is no robustness claim"],
        strict=True,
    ):
        assert expected in text


def test_the_future_and_the_end_of_a_key_are_respected(claims, bundle, trust):
    assert all("in the future" in text for text in refusals(claims, bundle, trust, now() - timedelta(days=1)))
    for change, expected in (({"revoked": now()}, "was revoked"), ({"until": now() - timedelta(days=1)}, "was good until")):
        ended = trust.model_copy(update={"keys": tuple(key.model_copy(update=change) for key in trust.keys)})
        assert all(expected in text for text in refusals(claims, bundle, ended))


def test_the_newest_comes_first(bundle, trust, keys, tmp_path):
    subject, path = Subject.of(bundle), tmp_path / "claims.jsonl"
    for version, days in ((1, 3), (2, 1), (3, 2)):
        release = Release(created=now() - timedelta(days=days), name="x", version=version)
        append_claim(path, make_claim(subject, release, keys["release"]), bundle=bundle)
    found = acceptable(read_claims(path, subject, trust, now()), "release")
    assert [claim.predicate.version for claim in found] == [2, 3, 1]


def test_the_subject_is_the_model_that_is_there_not_what_a_file_says(bundle):
    path = bundle / "model.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"digest": "sha256:" + "0" * 64}))
    with pytest.raises(ArtifactError, match="has model digest"):
        Subject.of(bundle)


def test_a_scan_has_to_cover_every_file(bundle, scan_report):
    subject = Subject.of(bundle)
    path = scan_report(subject)
    (bundle / "card.md").write_text("new")
    with pytest.raises(ArtifactError, match=r"does not cover card\.md"):
        predicate_of("scan", Subject.of(bundle), path, {}, now())


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("robustnes", {}, "did you mean 'robustness'"),
        ("verdict", {}, "there is no claim 'verdict'"),
        ("robustness", {}, "no report was given"),
        ("release", {"name": "x"}, "lacks 'version'"),
        ("release", {"name": "x", "version": -1}, "version is -1"),
        ("approval", {"reason": ""}, "reason is ''"),
        ("privacy", {"epsilon": 1.0, "delta": 2.0, "accountant": "x", "report": ""}, "delta is 2.0"),
    ],
)
def test_what_is_no_claim_is_refused(kind, given, expected, bundle):
    with pytest.raises(ConfigError, match=expected):
        predicate_of(kind, Subject.of(bundle), None, given, now())


def test_claims_lie_outside_the_folder(bundle):
    with pytest.raises(ArtifactError, match="lies inside"):
        append_claim(bundle / "claims.jsonl", "{}", bundle=bundle)


def _append(path, word):
    for place in range(50):
        append_claim(path, f"{word}{place}", bundle=path.parent / "model")


def test_writers_at_once_lose_nothing_and_a_torn_line_spoils_no_other(tmp_path):
    path = tmp_path / "claims.jsonl"
    path.write_text("torn")
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append, args=(path, word)) for word in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    lines = path.read_text().splitlines()
    assert sorted(lines) == sorted(["torn", *(f"{word}{place}" for word in "abcd" for place in range(50))])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_one_altered_byte_never_alters_what_is_believed(data, claims, bundle, trust):
    backup = Path(f"{claims}.bak")
    if not backup.exists():
        backup.write_bytes(claims.read_bytes())
    subject = Subject.of(bundle)
    claims.write_bytes(backup.read_bytes())
    before = {claim.digest: claim.predicate for claim in read_claims(claims, subject, trust, now())}
    content = bytearray(backup.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    claims.write_bytes(content)
    for claim in read_claims(claims, subject, trust, now()):
        if not claim.refusal:
            assert claim.predicate in before.values()
