"""What a plan gets wrong about its data, found before minutes of training rather than after them."""

from martensite.attacks import Attack
from martensite.certification import certify
from martensite.core.errors import ThreatError
from martensite.evaluation.fit import fit
from martensite.models import build, probe
from martensite.pipeline.context import Run


def check_plan(run: Run) -> None:
    """Refuse at once what a later stage would refuse.

    Raises:
        ThreatError: an eps, norm or goal that the data, an attack or the evaluation can't work with.
        DataError: test samples that break the constraints.
        ModelError: an architecture or a normalisation that doesn't fit the data.
        ConfigError: a certifier with too few samples to certify anything.
    """
    plan, data = run.pipeline, run.data("test")
    if tuple(plan.threat.box) != tuple(data.box):
        raise ThreatError(
            f"the threat model's box is {list(plan.threat.box)} and the data's is {list(data.box)}",
            "eps is in the units of the data as it is loaded",
            f"leave box out, and give eps in units of {list(data.box)}",
        )
    if plan.threat.goal != "untargeted":
        raise ThreatError("the threat model's goal is targeted", "robust accuracy is about any wrong class", "leave goal out")
    plan.threat.check_shape(data.x)
    plan.threat.check_clean(data.x)
    model = build(plan.model, data.shape, data.classes, mean=plan.mean, std=plan.std, box=plan.threat.box, seed=plan.seed)
    probe(model, data.x[:2])
    trained = (*vars(plan.harden.objective).values(), plan.harden.settings.validation_attack)
    for part in (*plan.attack, *trained):
        if isinstance(part, Attack):
            part.check(model, plan.threat)
    fit(plan.suite, model, plan.threat, data.shape)
    certify(model, data.x[:1], data.y[:1], plan.certify.method, threat=plan.threat, seed=plan.seed)  # says if it never could
