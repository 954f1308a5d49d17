"""The ``martensite`` command and how it ends: exit code 0 done or PASS, 1 FAIL, 2 bad input, 3 INCONCLUSIVE."""

import json
import sys
import traceback
from typing import Any

import typer

from martensite import __version__
from martensite.cli import (
    access,
    approve,
    attack,
    attest,
    audit,
    bom,
    certify,
    compare,
    convert,
    defend,
    deploy,
    evaluate,
    gate,
    harden,
    keys,
    monitor,
    policy,
    reference,
    report,
    run,
    scan,
    schema,
    serve,
    sign,
    suspend,
    sweep,
    train,
    verify,
)
from martensite.cli.audited import audited, taken_out
from martensite.core.errors import MartensiteError

USAGE, BUG, INTERRUPTED = 2, 70, 130
# Base of all complaints about the command line. Typer carries its own copy of click, and names none of its classes but this one.
UsageError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="martensite",
    help="Find out how a model breaks, harden it, prove what can be proved, and ship it as evidence.",
    epilog="Start with: martensite run\n\n"
    "Exit codes: 0 done or PASS, 1 FAIL, 2 bad input, 3 INCONCLUSIVE. --debug anywhere shows tracebacks; --audit FILE|URL "
    "anywhere, or MARTENSITE_AUDIT, records what is done in the audit log.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for module in (
    run,
    train,
    harden,
    sweep,
    attack,
    defend,
    evaluate,
    reference,
    compare,
    certify,
    sign,
    verify,
    attest,
    approve,
    suspend,
    bom,
    gate,
    serve,
    monitor,
    report,
    schema,
    scan,
    convert,
):
    app.command(module.NAME, epilog=module.EXAMPLES)(module.command)
app.add_typer(keys.app)
app.add_typer(policy.app)
app.add_typer(access.app)
app.add_typer(deploy.app)
app.add_typer(audit.app)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    sys.exit(_outcome([word for word in words if word != "--debug"] or ["--help"], debug))


def _outcome(words: list[str], debug: bool) -> int:
    try:
        words, log = taken_out(words)
        with audited(words, log):
            code: Any = app(words, prog_name="martensite", standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of Ctrl-C
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except MartensiteError as error:
        return _end(words, error, debug, error.exit_code)
    except UsageError as error:
        text = error.format_message() if hasattr(error, "format_message") else str(error)
        return _end(words, MartensiteError(text, remedy=f"See {_command(words)} --help"), debug, USAGE)
    except (KeyboardInterrupt, typer.Abort):
        kept = "finished stages are kept, --resume goes on" if words[0] == run.NAME else "nothing half-written was left"
        return _end(words, MartensiteError("interrupted", remedy=kept), debug, INTERRUPTED)
    except Exception as error:
        bug = MartensiteError(f"{type(error).__name__}: {error}", "this is a bug in Martensite", "--debug shows where")
        return _end(words, bug, debug, BUG)


def _end(words: list[str], error: MartensiteError, debug: bool, code: int) -> int:
    """One line on stderr, or one document on stdout."""
    if debug:
        traceback.print_exc()
    if "--json" in words:
        print(json.dumps({"error": {"value": error.value, "rule": error.rule, "remedy": error.remedy}}, indent=2))
    else:
        print(f"martensite: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def _command(words: list[str]) -> str:
    known = {*(command.name for command in app.registered_commands), *(group.name for group in app.registered_groups)}
    return f"martensite {words[0]}" if words[0] in known else "martensite"
