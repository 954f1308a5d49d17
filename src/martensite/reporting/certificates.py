"""The page of a certification alone: the certified-accuracy curve, what it rests on and what it doesn't claim."""

from importlib.resources import files

from markupsafe import Markup

from martensite.evaluation.report import CertificationReport
from martensite.reporting.html import certified_chart, embedded, environment


def render_certificates(report: CertificationReport) -> str:
    """A whole HTML document, below 1 MiB, that asks nothing of the network."""
    return (
        environment()
        .get_template("certificates.html.j2")
        .render(
            css=Markup(files(__package__).joinpath("templates", "report.css").read_text(encoding="utf-8")),
            embedded=embedded(report),
            environment=report.environment,
            certification=report,
            certified=certified_chart(report, "Certified"),
            threat=None,
        )
    )
