"""Help: with examples, and at once, because torch is not loaded for it."""

import json
import re
import subprocess
import sys

import pytest

import martensite

COMMANDS = (
    "run",
    "train",
    "harden",
    "sweep",
    "attack",
    "defend",
    "evaluate",
    "certify",
    "keys",
    "sign",
    "verify",
    "attest",
    "approve",
    "bom",
    "gate",
    "serve",
    "access",
    "deploy",
    "policy",
    "audit",
    "report",
)
HEAVY = ("torch", "numpy", "sklearn", "scipy", "altair", "pydantic", "PIL")
ROOMS = ("attacks", "certification", "defenses", "evaluation", "gates", "models", "pipeline", "reporting.html", "training")
LATE = (
    "altair",
    "jsonschema",
    "scipy.stats",
    "sklearn",
    "torch._dynamo",
    "torch.onnx",
    "onnxruntime",
    "sqlalchemy",
    "cryptography",
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(command, call):
    result = call(command, "--help")
    assert result.code == 0
    assert not result.err
    assert len(re.findall(rf"^ *martensite {command} ", result.out, re.MULTILINE)) >= 2
    assert call(command, "-h").out == result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained_in_plain_words(command, call, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    for line in call(command, "--help").out.splitlines():
        if "--" in line and "│" in line:
            assert re.search(r"  [A-Za-z0-9'\[][^ ]* [^ ]+ [^ ].*│$", line), line  # three words at least
        assert "<str>" not in line or "MODEL" in line
        assert "list[" not in line or "..." in line


def test_the_command_alone_shows_help(call):
    result = call()
    assert result.code == 0
    assert result.out == call("--help").out
    for command in COMMANDS:
        assert re.search(rf"^│ {command} ", result.out, re.MULTILINE)
    assert "0 done or PASS, 1 FAIL, 2 bad input, 3 INCONCLUSIVE" in " ".join(result.out.split())


def test_the_version(call):
    assert call("--version").out == f"{martensite.__version__}\n"


@pytest.fixture(scope="module")
def loaded():
    """What a fresh process has loaded of HEAVY after the help of every command, and of LATE after it has imported the rooms."""
    code = f"""
import contextlib, importlib, io, json, sys
from martensite.cli.main import main
for command in {COMMANDS!r}:
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main([command, "--help"])
print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))
for room in {ROOMS!r}:
    importlib.import_module(f"martensite.{{room}}")
print(json.dumps([name for name in {LATE!r} if name in sys.modules]))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout
    return [set(json.loads(line)) for line in out.splitlines()]


def test_help_loads_nothing_heavy(loaded):
    # Typer reads its options with pydantic; nothing else may be there.
    assert loaded[0] <= {"pydantic"}


def test_rooms_load_what_is_slow_where_it_is_used(loaded):
    """A gate draws no chart, and most commands train nothing: they would wait seconds for what they don't use."""
    assert loaded[1] == set()


def test_a_mistyped_command_is_refused_without_loading_torch():
    code = "import sys\nfrom martensite.cli.main import main\ntry: main(['evalute'])\nfinally: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, text=True)
    assert result.returncode == 2
    assert result.stdout == "False\n"
    assert result.stderr.startswith("martensite: No such command 'evalute'. Did you mean 'evaluate'?")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["attack"], "Missing argument 'MODEL'"),
        (["attack", "m", "--epss", "1"], "No such option: --epss"),
        (["attack", "m", "extra"], "extra"),
        (["train", "mlp"], "--out"),
        (["train", "mlp", "--out", "q", "--epochs", "0"], "--epochs"),
        (["train", "mlp", "--out", "q", "--epochs", "many"], "--epochs"),
        (["run", "--seed", "-1"], "--seed"),
        (["run", "--seed", "x"], "--seed"),
        (["gate", "r", "--min-clean-accuracy", "90%"], "--min-clean-accuracy"),
        (["--nope"], "No such option: --nope"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_one_line_and_says_where_help_is(words, expected, call, call_json):
    result = call(*words)
    assert result.code == 2
    assert not result.out
    assert len(result.err.splitlines()) == 1
    assert result.err.startswith("martensite: ")
    assert expected in result.err
    command = words[0] if words[0] in COMMANDS else ""
    assert f"See {f'martensite {command}'.strip()} --help" in result.err
    document = call_json(*words)
    assert document.code == 2
    assert expected in document.document["error"]["value"]
    assert not document.err


def test_the_help_of_train_names_every_architecture_that_needs_no_list_of_layers():
    from martensite.cli.train import ARCHITECTURE_NAMES
    from martensite.models import ARCHITECTURES

    assert [*ARCHITECTURE_NAMES] == [name for name in ARCHITECTURES.names() if name not in ("layers", "ensemble")]
