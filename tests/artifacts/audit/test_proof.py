"""Checkpoints and proofs: signed by an auditor, checked without the log, and good for nothing else."""

import json

import pytest

from martensite.artifacts.audit.checkpoint import Checkpoint, read_checkpoints
from martensite.artifacts.audit.entry import Entry
from martensite.artifacts.audit.log import AuditLog
from martensite.artifacts.audit.proof import check_proof, is_proof, prove_growth, prove_inclusion
from martensite.artifacts.audit.sealing import make_checkpoint
from martensite.artifacts.signing import Keyring, PrivateKey, Trust
from martensite.artifacts.signing.dsse import STATEMENT, seal
from martensite.core.errors import ArtifactError, SignatureError

KEY, OTHER = PrivateKey.new(), PrivateKey.new()
WORDS = "a passphrase of words"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A log of eight records and its checkpoints of five and of eight."""
    with AuditLog(tmp_path_factory.mktemp("log") / "a.db") as log:
        log.append([Entry("train", name=str(n)) for n in range(4)])
        old = make_checkpoint(log, KEY)
        log.append([Entry("train", name="später") for _ in range(3)])
        yield log, old, make_checkpoint(log, KEY)


def changed(document, path, value):
    copy = json.loads(json.dumps(document))
    *way, last = path
    place = copy
    for step in way:
        place = place[step]
    place[last] = value
    return json.dumps(copy).encode()


def test_every_record_is_proved_to_be_in_the_log(made):
    log, _, new = made
    for number in range(1, 9):
        document = prove_inclusion(log, number, new)
        assert f"record {number} is in the log {log.identity[:12]}" in check_proof(json.dumps(document).encode(), KEY.public)


def test_a_proof_of_something_else(made):
    log, old, new = made
    document = prove_inclusion(log, 3, new)
    for path, value in (
        (["record", "actor"], "eve"),
        (["record", "number"], 4),
        (["path"], document["path"][:-1]),
        (["path", 0], "00" * 32),
        (["checkpoint"], json.loads(old.bundle)),
        (["checkpoint"], json.loads(Checkpoint.sign(new.log, 8, "00" * 32, KEY).bundle)),
        (["format"], "other"),
        (["path"], ["zz"]),
        (["checkpoint"], 5),
        (["record"], []),
    ):
        with pytest.raises(SignatureError):
            check_proof(changed(document, path, value), KEY.public)
    with pytest.raises(SignatureError, match="does not count"):
        check_proof(json.dumps(document).encode(), OTHER.public)
    for content in (b"", b"[]", b"{}", b"\xff", b'{"format":1,"format":2}'):
        with pytest.raises(SignatureError):
            check_proof(content, KEY.public)


def test_growth(made, tmp_path):
    log, old, new = made
    document = prove_growth(log, old, new)
    assert "grew from 5 to 8 records" in check_proof(json.dumps(document).encode(), KEY.public)
    assert check_proof(json.dumps(prove_growth(log, new, new)).encode(), KEY.public)
    forged = Checkpoint.sign(old.log, 5, "11" * 32, KEY)
    with pytest.raises(SignatureError, match="rewritten in between"):
        check_proof(changed(document, ["old"], json.loads(forged.bundle)), KEY.public)
    with pytest.raises(ArtifactError, match="not of this log as it is"):
        prove_growth(log, forged, new)
    with pytest.raises(ArtifactError, match="a log grows"):
        prove_growth(log, new, old)
    with AuditLog(tmp_path / "b.db") as other, pytest.raises(ArtifactError):
        prove_growth(other, old, new)


def test_what_cannot_be_proved(made):
    log, old, new = made
    with pytest.raises(ArtifactError, match="newer than the checkpoint"):
        prove_inclusion(log, 7, old)
    with pytest.raises(ArtifactError, match="no record 99"):
        prove_inclusion(log, 99, new)
    with pytest.raises(ArtifactError, match="not of this log"):
        prove_inclusion(log, 2, Checkpoint.sign(new.log, 8, "00" * 32, KEY))


def test_proofs_are_recognised(made, tmp_path):
    log, _, new = made
    (tmp_path / "proof.json").write_text(json.dumps(prove_inclusion(log, 1, new)))
    assert is_proof(tmp_path / "proof.json")
    (tmp_path / "log.jsonl").write_text('{"checkpoints":0,"format":"martensite-audit-1","records":0}')
    assert not is_proof(tmp_path / "log.jsonl")
    with pytest.raises(ArtifactError):
        is_proof(tmp_path / "absent")


def test_who_may_sign_checkpoints(made, tmp_path):
    log, *_ = made
    ring, trust = Keyring(tmp_path / "keys"), Trust()
    for name, role in (("aud", "auditor"), ("rel", "release")):
        trust = trust.with_record(ring.new(name, WORDS, role=role))
    mine, theirs = (make_checkpoint(log, ring.private(WORDS, name)) for name in ("aud", "rel"))
    assert mine.refusal(trust) == ""
    assert "has the role release" in theirs.refusal(trust)
    assert "unknown key" in made[1].refusal(trust)
    assert mine.refusal(KEY.public)
    assert "revoked" in mine.refusal(trust.with_record(ring.revoke("aud", "lost")))


@pytest.mark.parametrize(
    "predicate",
    [
        {},
        {"log": "0" * 64, "size": 0, "root": "1" * 64, "created": "2026-01-01"},
        {"log": "0" * 64, "size": True, "root": "1" * 64, "created": "2026-01-01"},
        {"log": "x", "size": 1, "root": "1" * 64, "created": "2026-01-01"},
        {"log": "0" * 64, "size": 1, "root": "2" * 64, "created": "2026-01-01"},
        {"log": "0" * 64, "size": 1, "root": "1" * 64, "created": "yesterday"},
        [],
    ],
)
def test_what_is_no_checkpoint(predicate, tmp_path):
    subject = {"name": "audit log", "digest": {"sha256": "1" * 64}}
    kind = "https://martensite/checkpoint/v1"
    bundle = seal({"_type": STATEMENT, "subject": [subject], "predicateType": kind, "predicate": predicate}, KEY)
    (tmp_path / "checkpoints").write_text(bundle + "\n")
    with pytest.raises(SignatureError, match="is no checkpoint"):
        read_checkpoints(tmp_path / "checkpoints")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ArtifactError, match="holds no checkpoint"):
        read_checkpoints(tmp_path / "empty")
