"""Policies in Rego, evaluated in this process by rego-cpp (regopy).

Two faults of regopy 1.5 are worked around. Its input from Python keeps six decimals of a float, which would let 8/255 pass for
more than it is; so input is given as text. And its output doesn't escape quotes, by which a claim's text could forge a verdict;
so a policy's answer is fetched in base64, and texts go in without quotes, backslashes or control characters.
"""

import base64
import json
import re
from importlib.resources import files
from typing import Any

from martensite.artifacts.attest.predicates import GateCheck
from martensite.core.errors import ConfigError, MartensiteError

ANSWER = """package martensite.answer
import rego.v1
rows contains [base64.encode(one.rule), base64.encode(one.verdict), base64.encode(one.reason)] if {
	some one in data.martensite.policy.checks
}
size := count(data.martensite.policy.checks)
"""
HIDDEN = re.compile('["\\\\\ue000\ue001]|[^ -\ud7ff\ue000-\uffff\U00010000-\U0010ffff]|\x7f')
SHOWN = re.compile("\ue000([0-9a-f]+)\ue001")


def evaluate(policy: str, document: dict[str, Any]) -> tuple[GateCheck, ...]:
    """The checks of a policy, sorted by rule.

    Args:
        policy: A module of the package ``martensite.policy`` that defines ``checks``: a set of objects with rule, verdict and
            reason. It may import ``data.martensite.evidence``.
        document: What it sees as ``input``.

    Returns:
        The checks. Where the policy has no answer, or one that is none, a check that says so: INCONCLUSIVE.

    Raises:
        ConfigError: the policy is no Rego.
    """
    from regopy.rego_shared import RegoError

    try:
        interpreter = _interpreter(policy)
        interpreter.set_input_term(literal(document))
        rows, size = (interpreter.query(f"data.martensite.answer.{name}") for name in ("rows", "size"))
        sound = rows.ok() and size.ok()
        found = [[_text(word) for word in row] for row in rows.results[0].expressions[0]] if sound else []
        if not sound or size.results[0].expressions[0] != len(found):
            return (_open("the policy failed, or a check of it lacks rule, verdict or reason"),)
    except RegoError as error:
        raise _no_rego(error) from None
    except (LookupError, ValueError, TypeError):
        return (_open("the policy has no checks"),)
    try:
        checks = [GateCheck(rule=rule, verdict=verdict, reason=reason) for rule, verdict, reason in found]  # type: ignore[arg-type]
    except MartensiteError as error:
        return (_open(f"a check of the policy is none: {error.value[:200]}"),)
    return tuple(sorted(checks, key=lambda one: (one.rule, one.reason))) or (_open("the policy asks for nothing"),)


def verification(policy: str) -> Any:
    """What a policy states as ``verification``, before anything was verified: it depends on no input. ``{}``: nothing.

    Raises:
        ConfigError: the policy is no Rego.
    """
    from regopy.rego_shared import RegoError

    try:
        answer = _interpreter(policy).query("data.martensite.policy.verification")
    except RegoError as error:
        raise _no_rego(error) from None
    found = [one for result in answer.results for one in result.expressions] if answer.ok() else []
    return found[0] if found else {}


def _interpreter(policy: str) -> Any:
    from regopy import Interpreter
    from regopy.rego_shared import LogLevel

    interpreter = Interpreter()
    interpreter.log_level = LogLevel.NONE  # it would print on stdout
    library = (files("martensite.gates") / "policies" / "evidence.rego").read_text(encoding="utf-8")
    for name, module in (("evidence", library), ("policy", policy), ("answer", ANSWER)):
        interpreter.add_module(name, module)
    return interpreter


def _no_rego(error: Exception) -> ConfigError:
    reason = re.findall(r"errormsg \d+:([^\n)]*)", str(error))
    what = reason[0] if reason else "it is not understood"
    return ConfigError(f"the policy is no Rego: {what}", "it is a module of the package martensite.policy")


def literal(value: Any) -> str:
    """A Rego term: JSON, in which no text needs an escape."""
    return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return HIDDEN.sub(lambda found: f"\ue000{ord(found[0]):x}\ue001", value)
    if isinstance(value, dict):
        return {_plain(str(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _text(encoded: str) -> str:
    text = base64.b64decode(encoded, validate=True).decode()
    return SHOWN.sub(lambda found: chr(int(found[1], 16)), text)


def _open(reason: str) -> GateCheck:
    return GateCheck(rule="policy", verdict="INCONCLUSIVE", reason=reason)
