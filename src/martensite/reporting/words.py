"""What the figures mean and what they don't, in plain words."""

from martensite.evaluation.anytime import Decision
from martensite.evaluation.calibration import Calibration
from martensite.evaluation.report import CertificationReport, Rate, RobustnessReport, RunReport
from martensite.evaluation.variation import Variation
from martensite.reporting.formats import count, number, percent
from martensite.threat import Constraints, ThreatModel

NORMS = {"linf": "L\N{INFINITY}", "l2": "L2", "l1": "L1", "l0": "L0"}


def norm_name(norm: str) -> str:
    """A norm as it is printed; an unknown one as it is."""
    return NORMS.get(norm, norm)


def eps_text(threat: ThreatModel) -> str:
    """eps, and its fraction of 255 where it is one: image work states it so."""
    steps = threat.eps * 255
    whole = round(steps)
    if threat.norm == "linf" and threat.box == (0.0, 1.0) and whole and abs(steps - whole) < 1e-6:
        return f"{number(threat.eps)} ({whole}/255)"
    return number(threat.eps)


def threat_sentence(threat: ThreatModel) -> str:
    """What the adversary may do and what counts as success."""
    low, high = threat.box
    eps = eps_text(threat)
    may = {
        "linf": f"change every input value by at most {eps}, which is {percent(threat.eps / (high - low))} of the valid range",
        "l2": f"move an input by a Euclidean distance of at most {eps}",
        "l1": f"change an input's values by at most {eps} in sum",
        "l0": f"change at most {eps} values of an input, each as far as it likes",
    }[threat.norm]
    wins = {
        "untargeted": "if the model then gives any wrong class",
        "targeted": "if the model then gives the class that the adversary chose",
    }[threat.goal]
    rules = "" if threat.constraints is None else f", must keep {_rules(threat.constraints)}"
    return f"The adversary may {may}, must stay between {low:g} and {high:g}{rules}, and wins {wins}."


def _rules(constraints: Constraints) -> str:
    """How many constraints of which kind there are."""
    kinds = (
        (len(constraints.immutable), "immutable value", "immutable values"),
        (len(constraints.ranges), "range", "ranges"),
        (len(constraints.indices(constraints.integer)), "whole number", "whole numbers"),
        (len(constraints.groups), "choice of one", "choices of one"),
        (len(constraints.relations), "relation", "relations"),
        (constraints.levels or 0, "level", "levels"),
    )
    return ", ".join(f"{number} {one if number == 1 else many}" for number, one, many in kinds if number) or "no constraints"


def robust_sentence(report: RobustnessReport, who: str) -> str:
    """The main figure in words: how many samples withstood, of how many."""
    rate = report.robust_accuracy
    return (
        f"Under every attack tried within the threat model, {who} still classified {count(rate.count)} of {count(rate.n)} "
        f"samples correctly: {percent(rate.value)}, with a {_confidence(rate)} interval from {percent(rate.low)} to "
        f"{percent(rate.high)}."
    )


def verdict_sentence(report: RunReport) -> str:
    """What the verdict says of this run."""
    checks = len(report.verdict.checks)
    missed = [check for check in report.verdict.checks if check.verdict == report.verdict.verdict]
    if report.verdict.verdict == "PASS":
        return "The requirement is met." if checks == 1 else f"All {checks} requirements are met."
    if report.verdict.verdict == "FAIL":
        return f"{len(missed)} of {_requirements(checks)} not met."
    return f"{len(missed)} of {_requirements(checks)} undecided: the evidence is too thin to say yes or no."


def check_name(name: str) -> str:
    """``"min_robust_accuracy"`` as ``"Minimum robust accuracy"``."""
    words = [{"min": "minimum", "max": "maximum"}.get(word, word) for word in name.split("_")]
    return sentence(" ".join(words))


def sentence(text: str) -> str:
    """With a capital first letter; the rest stays as it is."""
    return text[:1].upper() + text[1:]


def certified_sentence(report: CertificationReport) -> str:
    """How far the certificates reach."""
    total = report.accuracy.n
    words = (
        f"{count(report.accuracy.count)} of {count(total)} samples have a certificate of the right class; on "
        f"{count(report.abstained)} the method abstained."
    )
    half = max((point.eps for point in report.certified if point.accuracy.value >= 0.5 and point.eps > 0), default=None)
    if half is not None:
        words += f" At least half of all samples are certified up to a radius of {number(half)} ({norm_name(report.norm)})."
    return words


def calibration_sentence(found: Calibration) -> str:
    """How far confidence is from accuracy, clean and under attack."""
    under = "" if found.attacked is None else f" and by {100 * found.attacked:.1f} points under attack"
    return (
        f"Confidence and accuracy differ by {100 * found.clean:.1f} points without an attack{under} "
        f"(expected calibration error over {found.bins} bins)."
    )


def decision_sentence(decision: Decision) -> str:
    """Whether robust accuracy is at least so much, and after how many samples that was said."""
    return f"{decision.verdict}: at least {decision.at_least:.1%}, after {count(decision.samples)} samples"


def variation_sentence(spread: Variation) -> str:
    """How far robust accuracy depends on the seed of the attacks."""
    deviation = "" if spread.deviation is None else f" +- {spread.deviation:.2%}"
    return f"Over {len(spread.seeds)} seeds: {spread.mean:.1%}{deviation}; {spread.worst} withstand all of them."


def access_sentence(access: str) -> str:
    """What figures for a model that was only queried don't say; nothing of one whose gradients were there."""
    return {
        "scores": "The adversary saw scores only and had no gradients: one who has the weights may well do better.",
        "decisions": "The adversary saw labels only: one who sees scores, or has the weights, may well do better.",
    }.get(access, "")


def limits(report: RobustnessReport) -> list[str]:
    """What the figures of an evaluation do not claim."""
    threat, rate = report.threat, report.robust_accuracy
    return [
        *filter(None, [access_sentence(report.access)]),
        f"Robust here means robust to this threat model ({norm_name(threat.norm)}, eps {eps_text(threat)}) and to nothing "
        "else: larger changes, other norms, rotations, blur or new kinds of data were not measured.",
        "Robust accuracy is measured by attacks, so it is an upper bound: a stronger attack can only lower it.",
        f"The intervals ({_confidence(rate)}, {method_name(rate.method)}) cover the luck of drawing {count(rate.n)} samples "
        "from the same source. They do not cover other training seeds, wrong labels or data that drifts.",
    ]


def radius_unit(norm: str) -> str:
    """What radii are counted in."""
    return "pixels" if norm in ("l0", "patch") else "input units"


def certificate_limits(certification: CertificationReport, threat: ThreatModel | None) -> list[str]:
    """What certificates do not claim."""
    method, about = certification.method, []
    if method.get("kind") in ("interval_bounds", "linear_bounds"):
        about.append(
            "The certificates are about the network itself, in real arithmetic; its own rounding, of about a millionth of its "
            "logits, is not part of them."
        )
    elif method.get("kind") != "patch_smoothing":
        about.append(
            "The certificates are about the smoothed classifier (the majority class under noise), not about a single pass of "
            "the network."
        )
    else:
        about.append("The certificates are about the vote of all parts of an image, not about a single pass of the network.")
    if method.get("kind") in ("smoothing", "uniform_smoothing") and not method.get("quantised"):
        about.append("The guarantee is stated for real arithmetic; quantised noise makes it hold in floating point.")
    if isinstance(alpha := method.get("alpha"), float):
        about.append(
            f"Each certificate is statistical: it holds with probability at least {1 - alpha:.10g} (1 \N{MINUS SIGN} alpha)."
        )
    if threat is not None and certification.norm != threat.norm:
        about.append(
            f"Radii are {norm_name(certification.norm)} distances; the threat model is {norm_name(threat.norm)}. The two are "
            "not the same claim and their figures do not compare directly."
        )
    return about


def method_name(method: str) -> str:
    """How an interval was made, as statisticians call it."""
    return {"clopper-pearson": "exact, Clopper-Pearson", "wilson": "Wilson", "anytime": "valid at any time"}.get(method, method)


def _requirements(n: int) -> str:
    return "1 requirement is" if n == 1 else f"{n} requirements are"


def _confidence(rate: Rate) -> str:
    return f"{100 * rate.confidence:g}%"
