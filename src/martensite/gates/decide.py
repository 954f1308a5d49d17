"""The gate: a bundle goes out only if the policy finds signed evidence for everything it asks for.

First what no policy can waive: every file as a release key signed it, each claim by a key whose role may make it, about this very
model, no suspension that nobody ended. Then the policy's own rules, and its waivers. What isn't there, doesn't verify or can't be
judged never passes.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from martensite.artifacts.attest import Claim, Serving, Subject, Verdict, acceptable, read_claims
from martensite.artifacts.attest.claims import document
from martensite.artifacts.attest.predicates import KINDS, GateCheck
from martensite.artifacts.moments import now as this_moment
from martensite.artifacts.signing import Digests, Signed, Trust, default_signature, read_signature, verify_model
from martensite.artifacts.stated import stated_digest
from martensite.core.acts import Act, recorded, recorder
from martensite.core.errors import MartensiteError, SignatureError
from martensite.gates.policy import Policy
from martensite.gates.short_form import Waiver
from martensite.gates.suspension import suspended
from martensite.gates.versions import Versions


def _decided(given: Mapping[str, Any], verdict: Verdict | None) -> Act:
    details: dict[str, Any] = {"policy": given["policy"].name, "policy_digest": given["policy"].digest}
    if verdict is not None:
        details["not_passed"] = [check.rule for check in verdict.checks if check.verdict != "PASS"]
    model, name = stated_digest(given["bundle"]), Path(given["bundle"]).name
    return Act("model", model, name, "done" if verdict is None else verdict.verdict, details)


@recorded("gate", _decided, announced=True)
def decide(
    bundle: str | Path,
    policy: Policy,
    claims: str | Path,
    trust: Trust,
    *,
    signature: str | Path | None = None,
    serving: Serving | None = None,
    versions: Versions | None = None,
    waivers: tuple[Waiver, ...] = (),
    now: datetime | None = None,
    known: Subject | None = None,
    digests: Digests | None = None,
) -> Verdict:
    """PASS, FAIL or INCONCLUSIVE, with a reason for every rule.

    Args:
        bundle: The folder.
        policy: What is asked for.
        claims: claims.jsonl.
        trust: Whose word counts, and on what.
        signature: Of the bundle; None: beside it.
        serving: How the model is to serve; None: as the bundle is.
        versions: Record of what passed before; it is brought up to date on PASS. None: replays don't show.
        waivers: Besides the policy's own.
        now: The moment to judge at; None: this one.
        known: The bundle as it was verified and loaded, where nobody can have changed it since (it is in a server's memory):
            signature, claims and policy are judged anew, and no file is read again.
        digests: Of files read before; they count only if the policy states ``reuse_hours``, and nothing keeps them otherwise.

    Raises:
        ArtifactError: claims or record can't be read. (A bundle or signature that can't is a FAIL.)
        ConfigError: the policy is no Rego.
    """
    now = now or this_moment()

    def verdict(checks: tuple[GateCheck, ...], counted: tuple[str, ...], how: Serving) -> Verdict:
        words = {check.verdict for check in checks}
        overall = "FAIL" if "FAIL" in words else "PASS" if words == {"PASS"} else "INCONCLUSIVE"
        return Verdict(
            created=now,
            verifier=f"martensite {version('martensite')}",
            policy={"name": policy.name, "digest": policy.digest},
            verdict=overall,  # type: ignore[arg-type]
            checks=checks,
            claims=counted,
            serving=how,
        )

    def refused(rule: str, error: MartensiteError) -> Verdict:
        reason = f"{error.value}; {error.rule}" if error.rule else error.value
        failed = GateCheck(rule=rule, verdict="FAIL", reason=reason)
        return verdict((failed,), (), serving or Serving(dtype="unknown"))

    digests = digests if policy.reuse_hours is not None else None
    try:
        signed = _signed(bundle, trust, signature, known, digests)
    except MartensiteError as error:
        return refused("signature", error)
    try:
        subject = known or Subject.of(bundle, signed.files)
    except MartensiteError as error:
        return refused("bundle", error)
    serving = serving or subject.serving
    found = read_claims(Path(claims), subject, trust, now)
    reused = digests.reused if digests is not None else 0
    unread = f", {reused} of them not read again" if reused else ""
    text = f"{len(signed.files)} files as {signed.signer} signed them{unread}"
    checks = [GateCheck(rule="signature", verdict="PASS", reason=text)]
    release = next(iter(acceptable(found, "release")), None)
    if versions is not None and release is not None:
        checks.append(versions.check(*_version(release), signed.digest))
    elif versions is not None:
        checks.append(GateCheck(rule="version", verdict="FAIL", reason="no release claim that counts says which version this is"))
    checks += suspended(found, _requesters(found, signed, trust))
    facts = _facts(found, signed, trust, serving, now, recorded=versions is not None, reused=reused)
    judged = policy.judge(facts)
    checks += [_waived(check, (*policy.waivers, *waivers), subject.model, now) for check in judged]
    counted = tuple(claim.digest for claim in found if not claim.refusal)
    result = verdict(tuple(checks), counted, serving)
    if result.verdict == "PASS" and versions is not None and release is not None:
        versions.passed(*_version(release), signed.digest)
    return result


def _signed(
    bundle: str | Path, trust: Trust, signature: str | Path | None, known: Subject | None, digests: Digests | None
) -> Signed:
    if known is None:
        signed = verify_model(bundle, trust, signature=signature, known=digests)
        if digests is not None:
            digests.save()
        return signed
    signed = read_signature(signature or default_signature(bundle), trust, model=bundle)
    if signed.files != known.files:
        raise SignatureError(f"{bundle} is not what this signature is of", "a signature covers the files that were loaded")
    return signed


def _version(release: Claim) -> tuple[str, int]:
    content: Any = release.predicate
    return content.name, content.version


def _facts(
    found: list[Claim], signed: Signed, trust: Trust, serving: Serving, now: datetime, *, recorded: bool, reused: int
) -> dict[str, Any]:
    """What the policy sees as ``input``."""
    refused: dict[str, list[str]] = defaultdict(list)
    for claim in found:
        if claim.refusal:
            refused[claim.kind or "unreadable"].append(claim.refusal)
    counting = {kind: [document(claim) for claim in acceptable(found, kind)] for kind in KINDS if kind != "verdict"}
    for one in counting["bom"]:
        one["predicate"] = {"components": len(one["predicate"]["bom"].get("components") or [])}  # the whole may be megabytes
    return {
        "now": now.timestamp(),
        "digest": f"sha256:{signed.digest}",
        "signer": signed.signer,
        "serving": serving.model_dump(mode="json"),
        "requesters": sorted(_requesters(found, signed, trust)),
        "recorded": recorded,
        "audited": recorder() is not None,
        "verification": {"files": len(signed.files), "reused": reused},
        "claims": counting,
        "refused": dict(refused),
    }


def _requesters(found: list[Claim], signed: Signed, trust: Trust) -> set[str]:
    """Who asked for the release, and so doesn't count as one who approves it."""
    signer = trust.find(signed.key)
    owners = {claim.key.owner for claim in acceptable(found, "release") if claim.key is not None}
    return owners | ({signer.owner} if signer is not None else set())


def _waived(check: GateCheck, waivers: tuple[Waiver, ...], model: str, now: datetime) -> GateCheck:
    mine = [one for one in waivers if one.rule == check.rule and one.model in (None, model)]
    if check.verdict == "PASS" or not mine:
        return check
    last = max(mine, key=lambda one: one.expires)
    if last.expires <= now:
        text = f"{check.reason} (the waiver of {last.owner} expired on {last.expires:%Y-%m-%d})"
        return check.model_copy(update={"reason": text})
    text = f"waived by {last.owner} until {last.expires:%Y-%m-%d}, {last.reason}: {check.reason}"
    return GateCheck(rule=check.rule, verdict="PASS", reason=text)
