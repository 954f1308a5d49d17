"""martensite policy: does a policy say what it is meant to say?"""

from typing import Annotated

import typer

from martensite.cli import options
from martensite.cli.secrets import installed

NAME = "policy"
EXAMPLES = """Examples:\n
  martensite policy test strict\n
  martensite policy test policies/ours.yaml\n
  martensite policy show default"""

app = typer.Typer(name=NAME, help="Policies of the gate: test, show.", epilog=EXAMPLES)
Source = Annotated[
    str, typer.Argument(metavar="POLICY", help="default, strict, research, FILE.yaml or FILE.rego.", show_default=False)
]


@app.command("test")
def run_examples(policy: Source, json: options.Json = False) -> int:
    """Run the examples in NAME.examples.yaml beside the policy; exit code 1 if one comes out otherwise."""
    installed()
    from martensite.cli.output import print_json
    from martensite.cli.progress import plain, show
    from martensite.gates.examples import try_examples
    from martensite.gates.policy import Policy

    outcomes = try_examples(Policy.load(policy))
    wrong = sum(bool(one.complaint) for one in outcomes)
    if json:
        print_json({"examples": [{"name": one.name, "complaint": one.complaint or None} for one in outcomes], "wrong": wrong})
    else:
        for one in outcomes:
            show(
                f"  [red]wrong[/]  {plain(one.name)}: {plain(one.complaint)}"
                if one.complaint
                else f"  as it should  {plain(one.name)}"
            )
        show(f"{len(outcomes) - wrong} of {len(outcomes)} examples came out as they should")
    return 1 if wrong else 0


@app.command("show")
def show_rego(policy: Source, json: options.Json = False) -> None:
    """The policy in Rego, as it is evaluated."""
    installed()
    from martensite.cli.output import print_json
    from martensite.gates.policy import Policy

    loaded = Policy.load(policy)
    if json:
        print_json({"name": loaded.name, "digest": loaded.digest, "rego": loaded.rego})
    else:
        print(loaded.rego, end="")
