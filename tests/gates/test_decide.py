"""The round trip on a real model: PASS with everything in place, and each way to cheat or fail has its own reason."""

import json
import shutil
from datetime import timedelta
from types import SimpleNamespace

import pytest

from martensite.artifacts.attest import Serving, Subject, append_claim, make_claim, predicate_of, read_claims
from martensite.artifacts.bundle import load_bundle, save_bundle
from martensite.artifacts.moments import now
from martensite.artifacts.signing import Digests, Keyring, Trust, sign_model
from martensite.core.errors import ArtifactError
from martensite.gates.decide import decide
from martensite.gates.policy import Policy
from martensite.gates.short_form import Waiver
from martensite.gates.versions import Versions

WORDS = "a passphrase of words"
PEOPLE = {"release": "Rex", "evaluator": "Eva", "approver": "Ann", "approver2": "Bob", "gate": "Gus"}
POLICY = """require:
  scan: {max_age_days: 30}
  robustness: {max_age_days: 30, min_samples: 100, min_clean_accuracy: 0.8, min_robust_accuracy: 0.5, norm: linf, min_eps: 0.05}
  certification: {}
  training: {}
  data: {}
  release: {monotonic: true}
  approval: {people: 2}
"""


@pytest.fixture
def shop(digits_run, tmp_path):
    """A signed bundle with claims of all kinds, and ways to do it all over."""
    ring = Keyring(tmp_path / "keys")
    for name, owner in PEOPLE.items():
        ring.new(name, WORDS, role=name.removesuffix("2"), owner=owner)
    trust = Trust()
    for name in PEOPLE:
        trust = trust.with_record(ring.record(name))
    shutil.copytree(digits_run / "model", tmp_path / "model")
    (tmp_path / "policy.yaml").write_text(POLICY)
    shop = SimpleNamespace(
        ring=ring,
        trust=trust,
        bundle=tmp_path / "model",
        claims=tmp_path / "claims.jsonl",
        report=digits_run / "report.json",
        policy=Policy.load(tmp_path / "policy.yaml"),
        versions=Versions(tmp_path / "versions.json"),
    )

    def scan(subject):
        files = [{"path": name, "digest": f"sha256:{digest}", "severity": "clean"} for name, digest in subject.files.items()]
        path = tmp_path / "scan.json"
        path.write_text(json.dumps({"format": "martensite-scan-1", "files": files, "findings": [], "seconds": 0.1}))
        return path

    def attest(kind, key, given=None, source=None, age=0, bundle=None):
        subject = Subject.of(bundle or shop.bundle)
        source = scan(subject) if kind == "scan" else source
        predicate = predicate_of(kind, subject, source, given or {}, now() - timedelta(days=age))
        append_claim(shop.claims, make_claim(subject, predicate, ring.private(WORDS, key)), bundle=shop.bundle)

    def attest_all(but=(), version=1, age=0):
        for kind, key, given, source in (
            ("scan", "evaluator", None, None),
            ("robustness", "evaluator", None, shop.report),
            ("certification", "evaluator", None, shop.report),
            ("training", "release", None, shop.report),
            ("data", "release", None, shop.report),
            ("release", "release", {"name": "digits", "version": version}, None),
            ("approval", "approver", {"reason": "read"}, None),
            ("approval", "approver2", {"reason": "read, too"}, None),
        ):
            if kind not in but:
                attest(kind, key, given, source, age)

    def judge(**changes):
        given = {"versions": shop.versions, **changes}
        result = decide(shop.bundle, shop.policy, shop.claims, given.pop("trust", shop.trust), **given)
        return result.verdict, {check.rule: check.reason for check in result.checks if check.verdict != "PASS"}

    shop.attest, shop.attest_all, shop.judge = attest, attest_all, judge
    sign_model(shop.bundle, ring, WORDS, key="release")
    attest_all()
    return shop


def test_a_model_with_everything_passes_again_and_again(shop):
    for _ in range(2):
        assert shop.judge() == ("PASS", {})


def test_one_byte_of_any_file(shop):
    for path in sorted(shop.bundle.iterdir()):
        content = path.read_bytes()
        for place in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
            verdict, reasons = shop.judge()
            assert verdict == "FAIL"
            assert f"{path.name} was altered" in reasons["signature"]
        path.write_bytes(content)
    assert shop.judge()[0] == "PASS"


def test_one_byte_of_the_signature_and_of_a_claim(shop):
    path = shop.bundle.with_name("model.sig")
    content = path.read_bytes()
    place = content.index(b'"payload"') + 40
    path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert "signature" in reasons
    path.write_bytes(content)
    lines = shop.claims.read_bytes().split(b"\n")
    place = lines[1].index(b'"payload"') + 40
    lines[1] = lines[1][:place] + bytes([lines[1][place] ^ 1]) + lines[1][place + 1 :]
    shop.claims.write_bytes(b"\n".join(lines))
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert "line 2 was altered: it is not what 'evaluator' signed" in reasons["robustness"]


def test_a_file_more(shop):
    (shop.bundle / "extra.bin").write_bytes(b"x")
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert "extra.bin is not signed" in reasons["signature"]


def test_a_signed_bundle_that_says_it_is_another_model(shop):
    """Whoever signs releases can't put other weights under a digest for which there is evidence."""
    path = shop.bundle / "model.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"digest": "sha256:" + "0" * 64}))
    sign_model(shop.bundle, shop.ring, WORDS, key="release")
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert "has model digest" in reasons["bundle"]


def test_the_report_of_another_model(shop, tmp_path):
    model = load_bundle(shop.bundle)
    next(model.net.parameters()).data[0, 0] += 1
    other = save_bundle(model, tmp_path / "other")
    document = json.loads(shop.report.read_text())
    document["hardened"]["model_digest"] = "sha256:" + Subject.of(other).model
    (tmp_path / "other.json").write_text(json.dumps(document))
    shop.claims.unlink()
    shop.attest_all(but=("robustness",))
    shop.attest("robustness", "evaluator", source=tmp_path / "other.json", bundle=other)
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert "it is about another model" in reasons["robustness"]


def test_evidence_that_is_too_old(shop):
    shop.claims.unlink()
    shop.attest_all(but=("robustness",))
    shop.attest("robustness", "evaluator", source=shop.report, age=31)
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert set(reasons) == {"robustness.max_age_days"}
    assert "is 31.0 days old, at most 30" in reasons["robustness.max_age_days"]
    assert shop.judge(now=now() + timedelta(days=31))[0] == "FAIL"


def test_the_key_of_another_role(shop):
    shop.claims.unlink()
    shop.attest_all(but=("robustness", "approval"))
    shop.attest("robustness", "release", source=shop.report)
    shop.attest("approval", "approver", {"reason": "read"})
    shop.attest("approval", "evaluator", {"reason": "read"})
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert "has the role release, not evaluator" in reasons["robustness"]
    assert "approved by 1 of 2 people" in reasons["approval"]
    sign_model(shop.bundle, shop.ring, WORDS, key="evaluator")
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert "has the role evaluator, not release" in reasons["signature"]


def test_another_way_to_serve(shop):
    for change in ({"dtype": "bfloat16"}, {"quantisation": "int8"}, {"defences": ("jpeg",)}, {"preprocessing": "sha256:1"}):
        serving = Serving(**{"dtype": "float32", **change})
        verdict, reasons = shop.judge(serving=serving)
        assert verdict == "FAIL"
        assert set(reasons) == {"robustness.serving", "certification.serving"}
        (value,) = change.values()
        assert "and the model is to serve as" in reasons["robustness.serving"]
        assert (value if isinstance(value, str) else value[0]) in reasons["robustness.serving"]


def test_the_weights_in_another_precision(shop, tmp_path):
    """Saved as float16 and signed anew, it is another model: the old evidence says nothing about it."""
    model = load_bundle(shop.bundle)
    shutil.rmtree(shop.bundle)
    save_bundle(model.half(), shop.bundle)
    sign_model(shop.bundle, shop.ring, WORDS, key="release")
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert "it is about another model" in reasons["robustness"]


@pytest.mark.parametrize("line", range(8))
def test_each_claim_is_needed(shop, line):
    lines = shop.claims.read_text().splitlines()
    kind = read_claims(shop.claims, Subject.of(shop.bundle), shop.trust, now())[line].kind
    shop.claims.write_text("\n".join([*lines[:line], *lines[line + 1 :]]) + "\n")
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert kind in reasons
    assert f"there is no {kind} claim" in reasons[kind] or "approved by 1 of 2" in reasons[kind]


def test_revoked_keys(shop):
    for name, rule in (("evaluator", "robustness"), ("approver", "approval"), ("release", "signature")):
        revoked = shop.trust.with_record(shop.ring.record(name).model_copy(update={"state": "revoked", "changed": now()}))
        verdict, reasons = shop.judge(trust=revoked)
        assert verdict == "FAIL"
        assert rule in reasons
        assert "was revoked" in reasons[rule] or "approved by 1 of 2" in reasons[rule]


def test_nobody_approves_what_he_asks_for_and_two_keys_are_not_two_people(shop):
    keys = {key.name: key for key in shop.trust.keys}
    for owner in ("Rex", "Ann"):  # who asked for the release; who approved already
        keys["approver2"] = keys["approver2"].model_copy(update={"owner": owner})
        verdict, reasons = shop.judge(trust=Trust(keys=tuple(keys.values())))
        assert verdict == "FAIL"
        assert "approved by 1 of 2 people" in reasons["approval"]


def test_an_old_model_can_not_be_replayed(shop, tmp_path):
    assert shop.judge()[0] == "PASS"
    shutil.copytree(shop.bundle, tmp_path / "old")
    shutil.copy(shop.claims, tmp_path / "old.jsonl")
    shutil.copy(shop.bundle.with_name("model.sig"), tmp_path / "old.sig")
    model = load_bundle(shop.bundle)
    shutil.rmtree(shop.bundle)
    save_bundle(model, shop.bundle, class_names=tuple("0123456789"))
    sign_model(shop.bundle, shop.ring, WORDS, key="release")
    shop.claims.unlink()
    shop.attest_all(version=1)
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert reasons == {"version": "digits 1 is another model of the same version: 1 passed already"}
    shop.attest("release", "release", {"name": "digits", "version": 2})
    shop.claims.write_text("".join(line for place, line in enumerate(shop.claims.read_text().splitlines(True)) if place != 5))
    assert shop.judge() == ("PASS", {})
    shop.bundle, shop.claims = tmp_path / "old", tmp_path / "old.jsonl"
    verdict, reasons = shop.judge()
    assert verdict == "FAIL"
    assert reasons == {"version": "digits 1 is an older one: 2 passed already"}


def test_without_a_record_of_versions_it_stays_open(shop):
    assert shop.judge(versions=None) == ("INCONCLUSIVE", {"release.monotonic": "no record of earlier versions was given"})
    shop.versions.path.write_text("{")
    with pytest.raises(ArtifactError, match="no record of versions"):
        shop.judge()


def test_a_verdict_that_is_no_pass_leaves_no_version(shop):
    (shop.bundle / "extra").write_text("x")
    shop.judge()
    shop.judge(serving=Serving(dtype="float16"))
    assert not shop.versions.path.exists()


def test_waivers_count_for_a_time_and_for_their_rule(shop):
    serving = Serving(dtype="bfloat16")
    waiver = {"owner": "Boss", "reason": "a trial", "expires": now() + timedelta(days=1)}
    both = tuple(Waiver(rule=f"{kind}.serving", **waiver) for kind in ("robustness", "certification"))
    assert shop.judge(serving=serving, waivers=both) == ("PASS", {})
    verdict, reasons = shop.judge(serving=serving, waivers=both[:1])
    assert (verdict, set(reasons)) == ("FAIL", {"certification.serving"})
    verdict, reasons = shop.judge(serving=serving, waivers=both, now=now() + timedelta(days=2))
    assert verdict == "FAIL"
    assert "the waiver of Boss expired" in reasons["robustness.serving"]
    other = tuple(one.model_copy(update={"model": "0" * 64}) for one in both)
    assert shop.judge(serving=serving, waivers=other)[0] == "FAIL"


def test_a_verdict_is_a_claim_itself(shop):
    subject = Subject.of(shop.bundle)
    verdict = decide(shop.bundle, shop.policy, shop.claims, shop.trust, versions=shop.versions)
    assert len(verdict.claims) == 8
    assert verdict.policy["digest"] == shop.policy.digest
    append_claim(shop.claims, make_claim(subject, verdict, shop.ring.private(WORDS, "gate")), bundle=shop.bundle)
    append_claim(shop.claims, make_claim(subject, verdict, shop.ring.private(WORDS, "evaluator")), bundle=shop.bundle)
    *_, ours, forged = read_claims(shop.claims, subject, shop.trust, now())
    assert ours.predicate == verdict
    assert "has the role evaluator, not gate" in forged.refusal
    assert shop.judge() == ("PASS", {})


def test_junk_in_the_claims_alone_fails_nothing(shop):
    with shop.claims.open("a") as file:
        file.write("junk\n{}\n\n")
    assert shop.judge() == ("PASS", {})


def test_what_is_in_memory_is_judged_anew_without_its_files(shop):
    """A server's copy can't change on disk any more; trust, claims and their age can."""
    known = Subject.of(shop.bundle)
    signature = shop.bundle.with_name("model.sig")
    assert shop.judge(known=known, signature=signature) == ("PASS", {})
    shutil.rmtree(shop.bundle)
    assert shop.judge(known=known, signature=signature) == ("PASS", {})
    later = now() + timedelta(days=31)
    assert set(shop.judge(known=known, signature=signature, now=later)[1]) == {"scan.max_age_days", "robustness.max_age_days"}
    revoked = shop.trust.model_copy(
        update={
            "keys": tuple(one.model_copy(update={"revoked": now()}) if one.owner == "Rex" else one for one in shop.trust.keys)
        }
    )
    verdict, reasons = shop.judge(known=known, signature=signature, trust=revoked)
    assert verdict == "FAIL"
    assert "revoked" in reasons["signature"]


def test_the_signature_of_other_files_is_no_signature_of_what_is_in_memory(shop, tmp_path):
    known = Subject.of(shop.bundle)
    (shop.bundle / "card.md").write_text("another card")
    sign_model(shop.bundle, shop.ring, WORDS, key="release", signature=tmp_path / "new.sig")
    verdict, reasons = shop.judge(known=known, signature=tmp_path / "new.sig")
    assert verdict == "FAIL"
    assert "is not what this signature is of" in reasons["signature"]


def test_files_are_read_again_unless_the_policy_lets_that_be(shop, tmp_path, monkeypatch):
    monkeypatch.setattr("martensite.artifacts.signing.digests.SETTLED", -1e9)
    (tmp_path / "lax.yaml").write_text(POLICY + "verification: {reuse_hours: 1}\n")
    lax = Policy.load(tmp_path / "lax.yaml")

    def reason(policy):
        digests = Digests(1.0, tmp_path / "cache")
        result = decide(shop.bundle, policy, shop.claims, shop.trust, versions=shop.versions, digests=digests)
        assert result.verdict == "PASS"
        return next(check.reason for check in result.checks if check.rule == "signature")

    assert "not read again" not in reason(lax)
    assert f"{len(list(shop.bundle.iterdir()))} of them not read again" in reason(lax)
    assert "not read again" not in reason(shop.policy)  # the digests are there, and yet
    (tmp_path / "strict.rego").write_text(
        lax.rego + 'checks contains {"rule": "fresh", "verdict": "FAIL", "reason": "stale"} if input.verification.reused > 0\n'
    )
    verdict = decide(
        shop.bundle, Policy.load(tmp_path / "strict.rego"), shop.claims, shop.trust, digests=Digests(1.0, tmp_path / "cache")
    )
    assert {check.rule for check in verdict.checks if check.verdict == "FAIL"} == {"fresh"}
    path = shop.bundle / "card.md"
    path.write_bytes(path.read_bytes()[:-1] + b"X")
    digests = Digests(1.0, tmp_path / "cache")
    result = decide(shop.bundle, lax, shop.claims, shop.trust, versions=shop.versions, digests=digests)
    assert "card.md was altered" in next(check.reason for check in result.checks if check.rule == "signature")
