"""martensite certify: which inputs no attack can change."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from martensite.cli import options

if TYPE_CHECKING:
    from martensite.certification import Certifier

NAME = "certify"
EXAMPLES = """Examples:\n
  martensite certify models/hardened --data digits --sigma 0.25 --samples 100\n
  martensite certify models/hardened --data digits --sigma 0.25 --radius 0.5 --store certified/\n
  martensite certify models/hardened --sigma 0.25 --radii 0.25,0.5,0.75 --out certificates.json --page certificates.html\n
  martensite certify models/hardened --sigma 0.25 --test fixed --set selection=100   (as papers do)\n
  martensite certify models/uniform --method uniform_smoothing --set width=0.5\n
  martensite certify models/ablated --method ablation --set keep=45\n
  martensite certify models/bands --method patch_smoothing --set size=4 --radius 5\n
  martensite certify models/small --method crown --norm linf --eps 0.1 --store certified/\n
  martensite certify models/small --method alpha-crown --eps 0.1 --sandwich pgd   (certified <= robust <= clean)\n
  martensite certify net.onnx --property robust.vnnlib   (verified, falsified or unknown)"""
SIGMA = 0.25
VERDICTS = {"verified": 0, "falsified": 1, "unknown": 3}  # exit codes
SHORT: dict[str, dict[str, str]] = {
    "ibp": {"kind": "interval_bounds"},
    **{name: {"kind": "linear_bounds", "variant": name} for name in ("crown-ibp", "crown", "alpha-crown")},
}


def command(
    model: options.Model,
    data: options.Data = "digits",
    method: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="smoothing (L2, Linf), uniform_smoothing (L1), ablation (L0), patch_smoothing; of the network itself, by "
            "bounds: ibp, crown-ibp, crown, alpha-crown.",
        ),
    ] = "smoothing",
    sigma: Annotated[
        float | None,
        typer.Option(help=f"Standard deviation of Gaussian noise, in input units; default {SIGMA}.", show_default=False),
    ] = None,
    n: Annotated[
        int | None, typer.Option(help="Most noisy copies a sample; default 100,000.", show_default=False, metavar="N")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Chance that a certificate is wrong; default 0.001.", show_default=False)
    ] = None,
    test: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="sequential (stops when decided; default), fixed, anytime or two_sided.",
            show_default=False,
        ),
    ] = None,
    radius: Annotated[float | None, typer.Option(help="Certify this radius only: the cheapest.", show_default=False)] = None,
    radii: Annotated[
        str | None,
        typer.Option(metavar="R,R,...", help="Tell these rising radii apart; default: a grid.", show_default=False),
    ] = None,
    norm: options.NormOption = None,
    eps: options.Eps = None,
    sandwich: Annotated[
        str | None,
        typer.Option(
            metavar="ATTACK",
            help="Attack the same samples too; a certified one that breaks ends the run with both saved. For bounds.",
            show_default=False,
        ),
    ] = None,
    vnnlib: Annotated[
        Path | None,
        typer.Option(
            "--property",
            metavar="FILE",
            dir_okay=False,
            help="Verify a VNN-LIB property of a network in ONNX (MODEL is a .onnx file): exit code 0 verified, 1 falsified, "
            "3 unknown. --set boxes=N: how many parts of the input to bound at most.",
            show_default=False,
        ),
    ] = None,
    settings: options.Settings = None,
    split: options.Split = None,
    label: options.Label = None,
    scale: options.Scale = None,
    samples: options.Samples = None,
    weights: options.Weights = None,
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Keep finished samples there; a run that was killed goes on from them.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write the report (JSON).", show_default=False)
    ] = None,
    page: Annotated[
        Path | None, typer.Option(metavar="FILE", dir_okay=False, help="Write it as an HTML page too.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> int:
    """Certify predictions: radii within which no change of an input alters the answer."""
    from martensite.attacks import ATTACKS
    from martensite.certification import Bounded, certify
    from martensite.cli.model_source import load_model
    from martensite.cli.output import print_json, show_certificates, show_sandwich, show_warnings
    from martensite.cli.progress import Display, plain, show
    from martensite.core.errors import ConfigError
    from martensite.core.files import write_text
    from martensite.evaluation import SandwichReport, summarise_certificates
    from martensite.evaluation import sandwich as run_sandwich
    from martensite.reporting import render_certificates

    if vnnlib is not None:
        return _verify(model, vnnlib, settings or [], seed, out, json)
    certifier = _certifier(method, {"sigma": sigma, "n": n, "alpha": alpha, "test": test}, radii, settings or [])
    bounded = isinstance(certifier, Bounded)
    if not bounded and (named := [f"--{name}" for name, value in (("norm", norm), ("eps", eps)) if value is not None]):
        raise ConfigError(
            f"{' and '.join(named)} was given with {method}", "it certifies radii, not a threat model", "give --radius, or crown"
        )
    if not bounded and sandwich is not None:
        raise ConfigError(
            f"--sandwich {sandwich} was given with {method}",
            "certificates of a smoothed classifier say nothing of the network that is attacked",
            "give --method crown",
        )
    attacker = None if sandwich is None else ATTACKS.build(sandwich)
    inputs = options.dataset(data, split, label, scale, samples)
    source = load_model(model, weights, inputs, trust_code=trust_code)
    threat = options.threat_model(norm, eps, None, source.threat, source.model.box) if bounded else None
    report: SandwichReport | None = None
    with Display(quiet=json) as display:
        if attacker is not None and threat is not None:
            report = run_sandwich(
                source.model, inputs, threat, certifier, attacker, evidence=_evidence(out, store), seed=seed, store=store,
                listener=display,
            )  # fmt: skip
            certification = report.certification
        else:
            certificates = certify(
                source.model, inputs.x, inputs.y, certifier,
                threat=threat, radius=radius, seed=seed, store=store, listener=display,
            )  # fmt: skip
            certification = summarise_certificates(certificates, certifier, source.model, inputs, seed)
    whole = report or certification
    if page is not None:
        write_text(page, render_certificates(certification))
    if out is not None:
        whole.save(out)
    if json:
        print_json(whole.model_dump(mode="json"))
        return 0
    show_certificates(certification)
    if report is not None:
        show_sandwich(report)
        show_warnings(report.warnings)
    if page is not None:
        show(f"Report: {plain(page)}")
    return 0


def _verify(model: str, vnnlib: Path, settings: list[str], seed: int, out: Path | None, json: bool) -> int:
    """A property of a network in ONNX.

    Raises:
        ConfigError: a model of another kind, or settings beside ``boxes``.
    """
    from martensite.certification.properties import verify_property
    from martensite.cli.output import print_json
    from martensite.cli.progress import Display, plain, show
    from martensite.core.config import nearest
    from martensite.core.errors import ConfigError
    from martensite.core.files import sha256, write_json

    given = options.read_settings(settings)
    if not model.endswith(".onnx"):
        raise ConfigError(f"--property was given with {model}", "a property is of a network in ONNX", "give a .onnx file")
    if unknown := [name for name in given if name != "boxes"]:
        raise ConfigError(f"--set {unknown[0]} was given with --property", remedy=nearest(unknown[0], ["boxes"]))
    if not isinstance(boxes := given.get("boxes", 1000), int) or boxes < 1:
        raise ConfigError(f"boxes is {boxes!r}", "a whole number of at least 1 is needed", "e.g. 1000")
    with Display(quiet=json) as display:
        result = verify_property(Path(model), vnnlib, boxes=boxes, seed=seed, listener=display)
    document = {
        "verdict": result.verdict,
        "network": sha256(Path(model).read_bytes()),
        "property": sha256(vnnlib.read_bytes()),
        "boxes": result.boxes,
        "seed": seed,
        "counterexample": None if result.counterexample is None else result.counterexample.tolist(),
        "outputs": None if result.outputs is None else result.outputs.tolist(),
    }
    if out is not None:
        write_json(out, document)
    if json:
        print_json(document)
    else:
        show(f"{result.verdict}  {plain(vnnlib)} of {plain(model)}, {result.boxes} boxes bounded")
        if result.outputs is not None:
            show(f"ONNX Runtime's outputs at the counterexample: {plain([round(value, 6) for value in result.outputs.tolist()])}")
    return VERDICTS[result.verdict]


def _evidence(out: Path | None, store: Path | None) -> Path:
    """Where both sides of a contradiction are saved: beside the report."""
    return out.parent if out is not None else store or Path()


def _certifier(method: str, given: dict[str, Any], radii: str | None, settings: list[str]) -> "Certifier":
    """The method, from options of their own and from ``--set``.

    Raises:
        ConfigError: unknown names, values out of range, a list of radii that can't be read.
    """
    from martensite.certification import CERTIFIERS
    from martensite.core.config import to_number
    from martensite.core.errors import ConfigError

    document = options.read_settings(settings, dict(SHORT.get(method, {"kind": method})))
    if radii is not None:
        numbers = [to_number(part) for part in radii.split(",")]
        if None in numbers:
            raise ConfigError(f"--radii is {radii!r}", "numbers with commas between them are needed", "e.g. 0.25,0.5,0.75")
        given = {**given, "radii": tuple(numbers)}
    for name, value in given.items():
        if value is None:
            continue
        if name in document:
            raise ConfigError(f"--set {name}={document[name]} was given", f"--{name} is {value} already", "give it once")
        document[name] = value
    if method == "smoothing":
        document.setdefault("sigma", SIGMA)
    return CERTIFIERS.build(document)
