"""The ``martensite`` command and how it ends: exit code 0 done or PASS, 1 FAIL, 2 bad input, 3 INCONCLUSIVE."""

import json
import sys
import traceback
from typing import Any

import click
import typer

from martensite import __version__
from martensite.cli import attack, certify, evaluate, gate, harden, report, run, train
from martensite.core.errors import MartensiteError

BUG, INTERRUPTED = 70, 130

app = typer.Typer(
    name="martensite",
    help="Find out how a model breaks, harden it, prove what can be proved, and ship it as evidence.",
    epilog="Exit codes: 0 done or PASS, 1 FAIL, 2 bad input, 3 INCONCLUSIVE. --debug anywhere shows tracebacks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for module in (run, train, harden, attack, evaluate, certify, gate, report):
    app.command(module.NAME, epilog=module.EXAMPLES)(module.command)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        print(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    sys.exit(_outcome([word for word in words if word != "--debug"], debug))


def _outcome(words: list[str], debug: bool) -> int:
    try:
        code: Any = app(words, prog_name="martensite", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except MartensiteError as error:
        if debug:
            traceback.print_exc()
        _complain(words, str(error), {"value": error.value, "rule": error.rule, "remedy": error.remedy})
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return 0
    except click.ClickException as error:
        if "--json" in words:
            _complain(words, error.format_message(), {"value": error.format_message(), "rule": "", "remedy": "see --help"})
        else:
            error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _complain(
            words,
            "Interrupted. Finished stages are kept; the same command goes on (--resume).",
            {"value": "interrupted"},
        )
        return INTERRUPTED
    except Exception as error:
        if debug:
            traceback.print_exc()
        message = f"{type(error).__name__}: {error}. This is a bug in Martensite; --debug shows where"
        _complain(words, message, {"value": message})
        return BUG


def _complain(words: list[str], message: str, document: dict[str, str]) -> None:
    if "--json" in words:
        print(json.dumps({"error": document}, indent=2))
    else:
        print(f"martensite: {message}", file=sys.stderr)
