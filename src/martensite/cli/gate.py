"""martensite gate: PASS, FAIL or INCONCLUSIVE."""

from pathlib import Path
from typing import Annotated, Any

import typer

from martensite.cli import options
from martensite.cli.secrets import Home, PassphraseFile

NAME = "gate"
EXAMPLES = """Examples:\n
  martensite gate results/report.json --min-clean-accuracy 0.9 --min-robust-accuracy 0.5\n
  martensite gate results/report.json --policy thresholds.yaml --baseline baseline/report.json\n
  martensite gate runs/digits --min-robust-accuracy 0.5\n
  martensite gate models/hardened --policy default --trust trust.yaml\n
  martensite gate models/hardened --policy ours.rego --trust trust.yaml --serving dtype=bfloat16 --key gate"""


def _fraction(what: str) -> Any:
    return typer.Option(metavar="FRACTION", help=f"{what}, in [0, 1].", show_default=False)


def _file(what: str) -> Any:
    return typer.Option(metavar="FILE", dir_okay=False, help=f"{what}.", show_default=False)


def command(
    report: Annotated[
        Path,
        typer.Argument(
            metavar="REPORT|BUNDLE",
            help="report.json of evaluate or run, or the run directory: judged by thresholds. Or a bundle: judged by the "
            "signed claims about it.",
            show_default=False,
        ),
    ],
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            dir_okay=False,
            help="Of a report: thresholds as YAML, instead of options. Of a bundle: default, strict, research, FILE.yaml or "
            "FILE.rego.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            metavar="REPORT", help="Report of the model before hardening; default: the baseline of a run.", show_default=False
        ),
    ] = None,
    min_clean_accuracy: Annotated[float | None, _fraction("Least accuracy without an attack")] = None,
    min_robust_accuracy: Annotated[float | None, _fraction("Least accuracy under the worst attack for each sample")] = None,
    max_clean_drop: Annotated[float | None, _fraction("Most clean accuracy lost against the baseline")] = None,
    min_robust_gain: Annotated[float | None, _fraction("Least robust accuracy gained over the baseline")] = None,
    max_robust_drop: Annotated[float | None, _fraction("Most robust accuracy lost against the baseline")] = None,
    trust: Annotated[Path | None, _file("trust.yaml: whose claims about a bundle count, and which of them")] = None,
    claims: Annotated[Path | None, _file("Claims about a bundle; default: BUNDLE.claims.jsonl")] = None,
    signature: Annotated[Path | None, _file("Signature of a bundle; default: BUNDLE.sig")] = None,
    serving: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="How a bundle is to serve, where that is not as it is: dtype, preprocessing, defences, quantisation.",
            show_default=False,
        ),
    ] = None,
    versions: Annotated[Path | None, _file("Record of the versions that passed, against replay; kept up to date")] = None,
    waivers: Annotated[Path | None, _file("Waivers of a policy's rules, as a YAML list")] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Sign the verdict on a bundle with this key, into its claims.", show_default=False),
    ] = None,
    home: Home = None,
    passphrase_file: PassphraseFile = None,
    json: options.Json = False,
) -> int:
    """Judge a report by thresholds, or a bundle by signed evidence: exit code 0 for PASS, 1 for FAIL, 3 for INCONCLUSIVE."""
    from martensite.cli.output import print_json, show_verdict
    from martensite.cli.report_source import load_judged
    from martensite.core.errors import ConfigError
    from martensite.evaluation import RunReport
    from martensite.gates import Thresholds

    given = {
        "min_clean_accuracy": min_clean_accuracy,
        "min_robust_accuracy": min_robust_accuracy,
        "max_clean_drop": max_clean_drop,
        "min_robust_gain": min_robust_gain,
        "max_robust_drop": max_robust_drop,
    }
    given = {name: value for name, value in given.items() if value is not None}
    evidence = [one for one in (trust, claims, signature, serving, versions, waivers, key) if one]
    if (report / "model.json").is_file() or evidence:
        from martensite.cli.release_gate import Asked, judge

        if given or baseline is not None:
            raise ConfigError(
                f"{report} is a bundle, and thresholds are for a report", "a policy decides on a bundle", "give --policy FILE"
            )
        name = str(policy) if policy is not None else "default"
        ways = serving or []
        return judge(Asked(report, name, claims, trust, signature, ways, versions, waivers, key, home, passphrase_file, json))
    if policy is not None and given:
        raise ConfigError("both --policy and thresholds were given", "one source decides", "leave one of them out")
    if policy is None and not given:
        raise ConfigError(
            "no threshold was given", "a gate needs at least one", "give --min-robust-accuracy 0.5, or --policy FILE"
        )
    thresholds = Thresholds.from_yaml(policy) if policy is not None else Thresholds.parse(given)
    judged, before = load_judged(report), None if baseline is None else load_judged(baseline)
    if isinstance(judged, RunReport):
        before = before or judged.baseline
        judged = judged.hardened
    if isinstance(before, RunReport):
        before = before.baseline
    verdict = thresholds.judge(judged, before)
    if json:
        print_json(verdict.model_dump(mode="json"))
    else:
        show_verdict(verdict)
    return verdict.exit_code
