"""The page of a certification alone: the certified-accuracy curve, what it rests on and what it doesn't claim."""

from martensite.evaluation.report import CertificationReport
from martensite.reporting.curves import certified_curve
from martensite.reporting.page import Tab, render_page

TABS = (
    Tab("curve", "Curve", ("certified",)),
    Tab("claims", "Limits", ("certificate_limits",)),
    Tab("provenance", "Provenance", ("certificate_provenance",)),
)


def render_certificates(report: CertificationReport) -> str:
    """A whole HTML document, below 2 MiB, that asks nothing of the network."""
    return render_page(
        "certificates.html.j2",
        report,
        report.environment,
        TABS,
        certification=report,
        certified=certified_curve(report, "Certified"),
        threat=None,
    )
