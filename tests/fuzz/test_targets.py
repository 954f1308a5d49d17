"""What `make fuzz` runs for minutes, for seconds: no crash, no act, on the seeds and on random changes to them."""

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def load(name):
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


targets = load("fuzz_targets")
SEEDS = {name: targets.prepare(name) for name in targets.TARGETS}


@pytest.mark.parametrize("name", list(targets.TARGETS))
def test_seeds_and_changes_to_them(name):
    seeds = SEEDS[name]
    for number in range(max(40, 2 * len(seeds))):
        targets.run(name, targets.mutated(seeds[number % len(seeds)], number))


@QUICK
@given(name=st.sampled_from(["signature", "claims"]), kind=st.sampled_from(b"EPCKRUTSL"), tail=st.binary(max_size=300))
def test_random_bytes_of_each_kind(name, kind, tail):
    targets.run(name, bytes([kind]) + tail)


@QUICK
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["_type", "subject", "predicate", "x"]), inner)
        ),
        max_leaves=9,
    )
)
def test_any_json_under_a_good_signature(document):
    """Who may sign may still write nonsense."""
    targets.run("claims", b"S" + json.dumps(document).encode())
    targets.run("signature", b"P" + json.dumps(document).encode())


@pytest.mark.parametrize(
    "act",
    [
        lambda: exec("x = 1"),
        lambda: subprocess.run(["true"], check=False),
        lambda: urllib.request.urlopen("http://127.0.0.1:9"),
        lambda: Path("/nowhere/file").write_text("x"),
        lambda: os.open("/nowhere/file", os.O_WRONLY),
        lambda: __import__("pickle").loads(b"cos\ngetcwd\n."),
    ],
)
def test_the_guard_hears_what_acts(act):
    """Else a run that finds nothing would say nothing."""
    with pytest.raises(targets.Acted), targets.guarded():
        act()
    eval("1")  # and is silent afterwards


def test_the_script_finds_what_is_planted(tmp_path):
    """A target with a hole in it: the script says so, keeps the input and exits with 1."""
    code = (SCRIPTS / "fuzz.py").read_text()
    (tmp_path / "fuzz.py").write_text(code.replace('find_spec("atheris") is None', 'find_spec("atheris") != 0'))
    planted = (
        "TARGETS = {'claims': (None, None)}\ndef prepare(name): return [b'seed']\ndef mutated(data, number): return data + b'!'\n"
    )
    (tmp_path / "fuzz_targets.py").write_text(
        planted + "def run(name, data):\n    if data.endswith(b'!'): raise KeyError(data)\n"
    )
    words = [sys.executable, tmp_path / "fuzz.py", "claims", "--seconds", "5", "--corpus", tmp_path / "corpus"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "something was found" in done.stdout
    assert [path.read_bytes() for path in (tmp_path / "corpus" / "found").iterdir()] == [b"seed!"]
