"""Evaluate a model: every attack of a suite, the worst case sample by sample, a security curve, all with intervals."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from martensite.attacks.fingerprint import UnknownError, fingerprint
from martensite.core.acts import Act, recorded
from martensite.core.engine import Engine
from martensite.core.errors import ModelError, ThreatError
from martensite.core.events import Listener, silent
from martensite.core.rng import derive, generator
from martensite.data.checks import check_inputs, check_labels
from martensite.data.dataset import Dataset
from martensite.evaluation.adaptive import adapted, bare, steady, with_naive
from martensite.evaluation.answers import answered, try_out
from martensite.evaluation.beside import gather_surrogates, look_beside
from martensite.evaluation.canaries import sing, singing, unsung
from martensite.evaluation.canary import Canary
from martensite.evaluation.diagnostics import Evidence, check_all
from martensite.evaluation.diagnostics.training_mode import in_training
from martensite.evaluation.diagnostics.unanswered import open_questions
from martensite.evaluation.examples import Examples, save_examples
from martensite.evaluation.fit import fit
from martensite.evaluation.gather import Adversarials, Keepers
from martensite.evaluation.measure import measure, measure_until
from martensite.evaluation.report import RobustnessReport
from martensite.evaluation.suite import Suite, load_suite
from martensite.evaluation.summarise import record as record
from martensite.evaluation.summarise import summarise
from martensite.evaluation.tally import Tally
from martensite.evaluation.work import Work
from martensite.models import Access, Model
from martensite.models.digest import identity
from martensite.threat import Norm, ThreatModel


def _evaluated(given: Mapping[str, Any], report: RobustnessReport | None) -> Act:
    suite = load_suite(given["suite"]).name
    details = {"data": given["data"].digest, "threat": str(given["threat"]), "suite": suite, "seed": given["seed"]}
    if report is not None:
        details |= {"clean_accuracy": report.clean_accuracy.value, "robust_accuracy": report.robust_accuracy.value}
    return Act("model", identity(given["model"]), details=details)


@recorded("evaluate", _evaluated, announced=True)
def evaluate(
    model: Model,
    data: Dataset,
    threat: ThreatModel,
    suite: str | Path | Suite = "standard",
    *,
    seed: int = 0,
    engine: Engine | None = None,
    store: Path | None = None,
    adversarials: Path | None = None,
    examples: Path | None = None,
    certified: Tensor | None = None,
    surrogates: Mapping[str, Model] | None = None,
    at_least: float | None = None,
    adaptive: bool = True,
    listener: Listener = silent,
) -> RobustnessReport:
    """Measure robustness.

    Args:
        model: The model; left as it was. One that only answers queries is attacked by the suite's attacks that need no more.
        data: Labelled samples, not used in training.
        threat: What the adversary may do.
        suite: A shipped suite's name, a YAML file, or a `Suite`.
        seed: Of all randomness.
        engine: Where the attacks run; None: in this process, one after the other.
        store: Folder for what is finished, from which a run that was killed goes on, to the same report.
        adversarials: File to keep the nearest adversarial of each broken sample in (safetensors: ``index``, ``adversarial``).
        examples: File to keep a dozen adversarials in, with what the model says of them, for the page's gallery.
        certified: (n,) radii in the threat model's norm that a certifier holds, 0 where it abstains; an adversarial inside one
            makes the report invalid.
        surrogates: Models by name, on which the suite's attacks by transfer are made, to be judged on this one.
        at_least: Stop as soon as it is sure whether robust accuracy is at least so much, looking at the samples in random order
            (`Decision`). The report is then about those it looked at, and its interval for robust accuracy holds all the same.
        adaptive: Of a defended model: attack it as who knows the defence, by gradients through every stage, over its randomness,
            and with the alarm in the loss. False: only as who doesn't, on the bare model; such a report is invalid.
        listener: Gets an event an attack and shard of samples.

    Returns:
        The report; the same for the same seed but for ``timing``.

    Raises:
        DataError, ModelError, ThreatError, AccessError, ConfigError: bad input, before any attack starts.
        UnreachableError: nobody answers at an endpoint, at any time; what is finished is in the store. A query that fails where
            others are answered makes its sample an error, and stops nothing.
    """
    suite, unfit = adapted(load_suite(suite), model)
    if threat.goal != "untargeted":
        raise ThreatError(
            "the threat model's goal is targeted", "robust accuracy is about any wrong class", "use goal untargeted"
        )
    check_inputs(data.x, threat.box)
    check_labels(data.y, len(data), model.classes)
    threat.check_shape(data.x)
    threat.check_clean(data.x)
    try_out(model, data.x)
    store = None if store is None else _shelf(store, model, surrogates or {})
    fit(suite, model, threat, data.shape)  # before anything is asked: a suite of which nothing fits is refused
    training = in_training(model)
    started = time.perf_counter()
    if at_least is not None:
        order = torch.randperm(len(data), generator=generator(seed, "evaluate/order"))
        data, certified = data.subset(order), None if certified is None else certified[order]
    asked = time.perf_counter()
    steady(model, derive(seed, "evaluate/clean"))
    clean = answered(model, data.x)
    timing = {"clean": time.perf_counter() - asked}
    canaries = try_suite(suite, threat.norm, model.access)
    sources, records = gather_surrogates(model, data, threat, suite, surrogates or {}, clean, seed, store)
    asked_for = fit(suite, model, threat, data.shape, sources)
    fitted = with_naive(asked_for, model, adaptive, unfit)
    found, shown = Adversarials(data) if adversarials else None, Examples(data, seed) if examples else None
    keepers = [keeper for keeper in (found, shown) if keeper is not None]
    keep = Keepers(keepers) if keepers else None
    work, decision = Work(model, data, seed, store, keep is not None, sources | bare(model)), None
    if at_least is None:
        tally = measure(work, fitted, engine, listener, keep, rows=clean.known.nonzero().flatten())
    else:
        tally, decision = measure_until(at_least, work, fitted, clean.known, engine, listener, keep)
        data = data.subset(slice(0, tally.n))
        certified = None if certified is None else certified[: tally.n]
    if found is not None and adversarials is not None:
        found.save(adversarials)
    if shown is not None and examples is not None:
        save_examples(examples, shown.pairs(model, clean.logits), identity(model), data.digest)
    steady(model, derive(seed, "evaluate/checks"))  # what is read from the store draws nothing
    evidence = Evidence(model, data, threat, tally, clean.logits[: len(data)], training, seed, certified)
    findings = (
        *singing(canaries),
        *open_questions(clean),
        *check_all(evidence, clean.known[: len(data)]),
        *(() if suite.canaries else unsung(threat.norm)),
    )
    beside = look_beside(evidence, suite, asked_for, sources, records, engine, store, listener)
    timing = {"total": time.perf_counter() - started, **timing}
    report = summarise(evidence, suite, fitted, canaries, findings, decision, beside, timing)
    steady(model, None)
    return report


def _shelf(store: Path, model: Model, surrogates: Mapping[str, Model]) -> Path:
    """The part of a store that is of these models: of what they compute, not of their weights alone."""
    if identity(model).startswith("unnamed:"):
        raise ModelError(
            f"a {type(model).__name__} was given with a store",
            "its answers can't be recognised by a digest, so nobody could tell whose they are",
            "give it a digest, or leave store= out",
        )
    try:
        code = fingerprint(*(one for one in (model, *surrogates.values()) if isinstance(one, nn.Module)))
    except UnknownError as error:
        raise ModelError(
            f"a model that holds {error} was given with a store", "nothing tells whether it computes the same", "leave store= out"
        ) from None
    return Path(store) / code.removeprefix("sha256:")[:16]


_SUNG: dict[str, tuple[Canary, ...]] = {}  # by suite, norm and access: nothing else decides what canaries sing


def try_suite(suite: Suite, norm: Norm, access: Access) -> tuple[Canary, ...]:
    """The suite's canaries, with what it has for this norm and access; none in L0, where a linear model is no closed form."""

    def attempt(model: Model, data: Dataset, threat: ThreatModel) -> Tally:
        return measure(Work(model, data, 0), fit(judging, model, threat, data.shape))

    judging = suite.model_copy(update={"norms": (), "name": ""})  # what stands beside the attacks judges nobody
    key = repr((judging, norm, access))
    if key not in _SUNG:
        _SUNG[key] = () if norm == "l0" else tuple(sing(name, norm, access, attempt) for name in suite.canaries)
    return _SUNG[key]
