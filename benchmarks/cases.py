"""What is compared in `attacks`: one case is an attack, its budget, and everyone who has it.

Steps and queries are equal for all, as far as the peers' parameters allow; the passes that each really took are counted.
"""

from dataclasses import dataclass
from typing import Literal

from peers import BATCH, Contenders, Runs

import martensite as mt

EPS = 0.2
INF = float("inf")
LINF = mt.ThreatModel(norm="linf", eps=EPS)
L2, L1, L0 = (mt.ThreatModel(norm=norm, eps=eps) for norm, eps in (("l2", 2.0), ("l1", 10.0), ("l0", 20)))
NUMBERS = {"linf": INF, "l2": 2, "l1": 1, "l0": 0}


@dataclass(frozen=True)
class Case:
    """One comparison.

    Args:
        images: How many are attacked.
        threat: Norm in which distances are reported and, for a bounded attack, the ball.
        runs: Who runs it.
        steps: Gradient passes an image that nobody can leave out as long as it withstands, for the floor; 0: no floor.
        minimum: A minimum-norm attack: the median distance is reported, not what is left.
        model: Which bench model.
        tolerance: Two implementations agree if their medians differ by at most this share (or what they leave, by 2 points).
    """

    images: int
    threat: mt.ThreatModel
    runs: Runs
    steps: int = 0
    minimum: bool = False
    model: Literal["hardened", "standard"] = "hardened"
    tolerance: float = 0.03


def all_cases(hard: Contenders, soft: Contenders) -> dict[str, Case]:
    """Every case by name; ``hard`` and ``soft`` attack the hardened and the undefended model."""
    cases = bounded(hard) | ensembles(hard, soft) | minimum_norm(hard) | elastic(hard) | by_queries(hard)
    return {name: case for name, case in cases.items() if any(who.startswith("martensite") for who in case.runs)}


def bounded(c: Contenders) -> dict[str, Case]:
    """Gradient attacks inside the ball, and Square."""
    step = 2.5 * EPS / 40
    pgd = (
        c.ours("pgd", LINF, steps=40)
        | c.foolbox("LinfPGD", EPS, steps=40, abs_stepsize=step)
        | c.art(
            "ProjectedGradientDescentPyTorch",
            eps=EPS,
            eps_step=step,
            max_iter=40,
            num_random_init=1,
            batch_size=BATCH,
            verbose=False,
        )
        | c.adversarial_library("pgd_linf", ε=EPS, steps=40, absolute_step_size=step)
        | c.torchattacks("PGD", eps=EPS, alpha=step, steps=40)
    )
    apgd = (
        c.ours("apgd", LINF, steps=100)
        | c.art(
            "AutoProjectedGradientDescent",
            eps=EPS,
            eps_step=2 * EPS,
            max_iter=100,
            nb_random_init=1,
            batch_size=BATCH,
            loss_type="cross_entropy",
            verbose=False,
        )
        | c.adversarial_library("apgd", norm=INF, eps=EPS, n_iter=100, loss_function="ce")
        | c.torchattacks("APGD", eps=EPS, steps=100, loss="ce")
        | c.autoattack(EPS, alone="apgd-ce")
    )
    apgd_l2 = c.ours("apgd", L2, steps=100) | c.adversarial_library("apgd", norm=2, eps=L2.eps, n_iter=100, loss_function="ce")
    targeted = c.ours("apgd_targeted", LINF, steps=100, targets=9) | c.autoattack(EPS, alone="apgd-t")
    square = (
        c.ours("square", LINF, queries=5000)
        | c.autoattack(EPS, alone="square")
        | c.torchattacks("Square", eps=EPS, n_queries=5000, resc_schedule=False)
        | c.art("SquareAttack", eps=EPS, max_iter=5000, batch_size=BATCH, verbose=False)
    )
    square_l2 = c.ours("square", L2, queries=5000) | c.autoattack(L2.eps, "L2", alone="square")
    return {
        "pgd": Case(500, LINF, pgd, 40),
        "apgd": Case(200, LINF, apgd, 100),
        "apgd_l2": Case(200, L2, apgd_l2 | c.autoattack(L2.eps, "L2", alone="apgd-ce"), 100),
        "apgd_targeted": Case(50, LINF, targeted, 900),
        "square": Case(100, LINF, square),
        "square_l2": Case(50, L2, square_l2),
    }


def ensembles(hard: Contenders, soft: Contenders) -> dict[str, Case]:
    """AutoAttack standard and the adaptive cascade, which is held against it too."""

    def case(c: Contenders, model: Literal["hardened", "standard"]) -> Case:
        adaptive = {who.replace("martensite", "martensite adaptive"): run for who, run in c.ours("adaptive", LINF).items()}
        return Case(100, LINF, c.ours("autoattack", LINF) | adaptive | c.autoattack(EPS), model=model)

    return {"autoattack": case(hard, "hardened"), "autoattack_undefended": case(soft, "standard")}


def minimum_norm(c: Contenders) -> dict[str, Case]:
    """Gradient attacks that look for the nearest adversarial."""
    cw = (
        c.ours("cw", L2, tuned=False, search_steps=5, steps=200)
        | c.foolbox("L2CarliniWagnerAttack", binary_search_steps=5, steps=200)
        | c.adversarial_library("carlini_wagner_l2", binary_search_steps=5, max_iterations=200)
    )
    deepfool = (
        c.ours("deepfool", L2, tuned=False, steps=50)
        | c.foolbox("L2DeepFoolAttack", steps=50)
        | c.adversarial_library("df", steps=50, norm=2)
        | c.art("DeepFool", max_iter=50, epsilon=0.02, nb_grads=10, batch_size=BATCH, verbose=False)
    )
    deepfool_linf = (
        c.ours("deepfool", LINF, tuned=False, steps=50)
        | c.foolbox("LinfDeepFoolAttack", steps=50)
        | c.adversarial_library("df", steps=50, norm=INF)
    )
    superdeepfool = c.ours("superdeepfool", L2, tuned=False) | c.adversarial_library("sdf")
    ddn = (
        c.ours("ddn", L2, tuned=False, steps=100)
        | c.foolbox("DDNAttack", steps=100)
        | c.adversarial_library("ddn", steps=100, levels=None)
    )
    cases = {
        "cw": Case(100, L2, cw, minimum=True),
        "deepfool": Case(100, L2, deepfool, minimum=True),
        "deepfool_linf": Case(100, LINF, deepfool_linf, minimum=True),
        "superdeepfool": Case(100, L2, superdeepfool, minimum=True),
        "ddn": Case(100, L2, ddn, 100, minimum=True),
    }
    for threat, foolbox in ((L2, "L2FMNAttack"), (LINF, "LInfFMNAttack"), (L1, "L1FMNAttack"), (L0, "L0FMNAttack")):
        runs = c.ours("fmn", threat, tuned=False, steps=100) | c.foolbox(foolbox, steps=100)
        runs |= c.adversarial_library("fmn", norm=NUMBERS[threat.norm], steps=100)
        cases["fmn" if threat is L2 else f"fmn_{threat.norm}"] = Case(100, threat, runs, 100, minimum=True)
    for threat in (LINF, L2, L1):
        runs = c.ours("fab", threat, tuned=False, steps=20)
        runs |= c.adversarial_library("fab", norm=NUMBERS[threat.norm], n_iter=20)
        cases[f"fab_{threat.norm}"] = Case(50, threat, runs, 20, minimum=True)
    # The authors' targeted FAB returns what lies inside the ball only.
    targeted = c.ours("fab", LINF, tuned=False, steps=100, targets=9) | c.autoattack(EPS, alone="fab-t")
    cases["fab_targeted"] = Case(50, LINF, targeted)
    sigma = c.ours("sigma_zero", L0, tuned=False, steps=300) | c.adversarial_library("sigma_zero", num_steps=300)
    cases["sigma_zero"] = Case(50, L0, sigma, 300, minimum=True)
    jsma = c.ours("jsma", L0, tuned=False, features=1, sign="increase") | c.torchattacks("JSMA", theta=1.0, gamma=1.0)
    cases["jsma"] = Case(20, L0, jsma, minimum=True)
    return cases


def elastic(c: Contenders) -> dict[str, Case]:
    """EAD by the L1 rule, and the attack of Brendel and Bethge."""
    ead = (
        c.ours("ead", L1, tuned=False, search_steps=5, steps=100)
        | c.foolbox("EADAttack", binary_search_steps=5, steps=100, decision_rule="L1")
        | c.art(
            "ElasticNet",
            binary_search_steps=5,
            max_iter=100,
            beta=0.01,
            decision_rule="L1",
            batch_size=BATCH,
            verbose=False,
        )
        | c.torchattacks("EADL1", binary_search_steps=5, max_iterations=100, beta=0.01)
    )
    cases = {"ead": Case(50, L1, ead, minimum=True)}
    for threat, foolbox in ((L2, "L2BrendelBethgeAttack"), (LINF, "LinfinityBrendelBethgeAttack")):
        runs = c.ours("brendel_bethge", threat, tuned=False, steps=100) | c.foolbox(foolbox, steps=100)
        cases["brendel_bethge" if threat is L2 else "brendel_bethge_linf"] = Case(20, threat, runs, minimum=True)
    return cases


def by_queries(c: Contenders) -> dict[str, Case]:
    """Attacks by labels or scores; ours get about the queries that the peers' steps come to."""
    hopskipjump = (
        c.ours("hopskipjump", L2, tuned=False, queries=2600)
        | c.foolbox("HopSkipJumpAttack", steps=10)
        | c.art("HopSkipJump", max_iter=10, max_eval=10_000, batch_size=64, verbose=False)
    )
    boundary = (
        c.ours("boundary", L2, tuned=False, queries=4000)
        | c.foolbox("BoundaryAttack", steps=4000)
        | c.art("BoundaryAttack", targeted=False, max_iter=100, batch_size=64, verbose=False)
    )
    geoda = c.ours("geoda", L2, tuned=False, queries=2000) | c.art("GeoDA", max_iter=2000, batch_size=64, verbose=False)
    pixels = mt.ThreatModel(norm="l0", eps=3)
    one_pixel = c.ours("one_pixel", pixels, tuned=False, queries=4000, population=100) | c.torchattacks(
        "OnePixel", pixels=3, steps=39, popsize=100
    )
    return {
        "hopskipjump": Case(20, L2, hopskipjump, minimum=True, tolerance=0.1),
        "boundary": Case(20, L2, boundary, minimum=True, tolerance=0.1),
        "geoda": Case(20, L2, geoda, minimum=True, tolerance=0.1),
        "one_pixel": Case(20, pixels, one_pixel),
        "sparse_rs": Case(50, mt.ThreatModel(norm="l0", eps=20), c.ours("sparse_rs", L0, tuned=False, queries=2000)),
    }
