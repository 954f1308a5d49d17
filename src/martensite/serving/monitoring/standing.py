"""How a model stands, in a word, a sentence and reasons: the same for the page, the terminal and whoever reads the record."""

from collections.abc import Iterator, Sequence

from martensite.serving.monitoring.snapshot import Alert, DriftTest, Evidence, Reason, Standing, Version

LOADING = "it is not loaded yet"
TESTS = {
    "ks": "Kolmogorov-Smirnov", "mmd": "mean discrepancy (MMD)", "classes": "class shares", "sequential": "sequential test",
    "cusum": "CUSUM", "accuracy": "accuracy",
}  # fmt: skip


def stand(
    name: str,
    reason: str,
    versions: Sequence[Version],
    alerts: Sequence[Alert],
    audit_lost: int | None,
    moment: float,
    refused: str = "",
) -> Standing:
    """How a model stands.

    Args:
        name: Of the model.
        reason: Why it isn't ready; ``""`` if it is.
        versions: Of it.
        alerts: The newest first.
        audit_lost: Records that the audit log lost.
        moment: Now, in seconds since 1970.
        refused: Why a version that was to take its place didn't.
    """
    version = next((one for one in versions if one.route == "primary"), None)
    fires = firing(alerts, name)
    reasons = tuple(_reasons(version, fires, audit_lost, moment, refused))
    if reason:
        loading = version is None and reason == LOADING
        word = "Loading" if loading else "Refused" if version is None else "Taken out"
        lead = "It answers as soon as its evidence is verified." if loading else f"It answers nobody. {_sentence(reason)}"
        return Standing(word=word, tone="inconclusive" if loading else "fail", lead=lead, reasons=reasons)
    if version is None:
        return Standing(word="Loading", tone="inconclusive", lead="", reasons=reasons)
    rang = [one.name for one in fires] + [f"drift of {one.about}" for one in version.drift.tests if one.alarm]
    if rang:
        lead = f"It still serves, under alarm: {', '.join(dict.fromkeys(rang))}."
        return Standing(word="Alarm", tone="inconclusive", lead=lead, reasons=reasons)
    if version.evidence.verdict == "NONE":
        lead = "Nobody asked for its evidence: this is a server for development."
        return Standing(word="Serving", tone="inconclusive", lead=lead, reasons=reasons)
    lead = (
        f"Its evidence passes the policy \N{LEFT DOUBLE QUOTATION MARK}{version.evidence.policy}\N{RIGHT DOUBLE QUOTATION MARK}."
    )
    return Standing(word="Serving", tone="pass", lead=lead, reasons=reasons)


def firing(alerts: Sequence[Alert], model: str) -> list[Alert]:
    """Alerts about a model, or about none, whose last word is that they fire."""
    latest: dict[tuple[str, str], Alert] = {}
    for one in alerts:  # the newest come first
        latest.setdefault((one.name, one.model), one)
    return [one for one in latest.values() if one.status == "firing" and one.model in ("", model)]


def ago(moment: float, now: float) -> str:
    """How long ago, as one says it."""
    seconds = max(0.0, now - moment)
    for most, unit, word in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < most:
            return f"{int(seconds // unit)} {word} ago"
    return f"{int(seconds // 86_400)} days ago"


def _reasons(
    version: Version | None, fires: Sequence[Alert], audit_lost: int | None, moment: float, refused: str
) -> Iterator[Reason]:
    if version is not None:
        yield _evidence(version.evidence, moment)
    if refused:
        text = f"What lies in the bundle's place now is not served: {refused}"
        yield Reason(mark="REFUSED", tone="fail", title="New version", text=text)
    for one in fires:
        text = " ".join(part for part in (one.summary, one.outcome) if part) or f"Severity {one.severity or 'unknown'}."
        yield Reason(mark="FIRES", tone="fail" if one.severity == "critical" else "inconclusive", title=one.name, text=text)
    if version is not None:
        yield _drift(version)
        yield _detectors(version)
        if version.alarms.suspicious:
            text = f"{version.alarms.suspicious:,} requests came among so many near duplicates that they look like a search."
            yield Reason(mark="NOTE", tone="inconclusive", title="Queries", text=text)
    if audit_lost:
        yield Reason(mark="LOST", tone="fail", title="Audit log", text=f"{audit_lost:,} records could not be written.")


def _evidence(found: Evidence, moment: float) -> Reason:
    if found.verdict == "NONE":
        text = "Nothing was verified: whoever can write the bundle decides what is answered."
        return Reason(mark="NONE", tone="inconclusive", title="Evidence", text=text)
    judged = "" if found.judged is None else f", judged {ago(found.judged, moment)}"
    oldest = "" if found.oldest is None else f"; the oldest claim that counts is from {ago(found.oldest, moment)}"
    suspended = "Suspended by a claim. " if found.suspended else ""
    passed = found.verdict == "PASS" and not found.reason
    mark = "OUT" if found.reason and found.verdict == "PASS" else found.verdict
    text = f"{suspended}Policy {found.policy}{judged}{oldest}."
    return Reason(mark=mark, tone="pass" if passed else "fail", title="Evidence", text=text)


def _drift(version: Version) -> Reason:
    drift = version.drift
    if not drift.watched:
        why = f": {drift.reason.rstrip('.')}" if drift.reason else ""
        return Reason(mark="OFF", tone="", title="Drift", text=f"Not watched{why}.")
    rang = [f"{_test(one)} of {one.about}{f' ({one.detail})' if one.detail else ''}" for one in drift.tests if one.alarm]
    if rang:
        return Reason(mark="ALARM", tone="inconclusive", title="Drift", text=f"{_sentence('; '.join(rang))}.")
    text = f"{len(drift.tests)} tests over {drift.samples:,} samples; none rings."
    return Reason(mark="CALM", tone="pass", title="Drift", text=text)


def _detectors(version: Version) -> Reason:
    alarms = version.alarms
    if not alarms.detects:
        return Reason(mark="OFF", tone="", title="Detectors", text="None looks at the inputs.")
    lately = "none came in the last minute" if alarms.share is None else f"{alarms.share:.1%} of the last minute's"
    text = f"{alarms.flagged:,} of {sum(alarms.decisions.values()):,} samples were flagged; {lately}."
    return Reason(mark="ON", tone="pass", title="Detectors", text=text)


def _test(test: DriftTest) -> str:
    return TESTS.get(test.name, test.name)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
