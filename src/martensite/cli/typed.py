"""A command as it was typed, for whoever wants to measure the same again."""

import re
import shlex
from collections.abc import Collection

import typer

SECRET = re.compile(r"(?<=://)[^/\s]+@")  # user and password in an address


def as_typed(context: typer.Context, without: Collection[str] = ()) -> str:
    """The command with what was given on the line, quoted for a shell; passwords in addresses are left out.

    Args:
        context: Of the command.
        without: Names of parameters that change where results go, and not what they are.
    """
    words = ["martensite", str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        source = context.get_parameter_source(name)
        if name in without or source is None or source.name == "DEFAULT":
            continue
        value = context.params[name]
        if parameter.param_type_name == "argument":
            words += [str(one) for one in (value if isinstance(value, list | tuple) else [value])]
        elif isinstance(value, bool):
            words.append(parameter.opts[0])
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                words += [parameter.opts[0], str(one)]
    return SECRET.sub("", shlex.join(words))
