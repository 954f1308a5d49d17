"""Tests run side by side: a thread each, or they wait for one another's. What is cached belongs to the test run."""

import contextlib
import io
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import hypothesis
import pytest
import torch

from martensite.threat import Constraints

torch.set_num_threads(1)
# A busy machine is no failure: hypothesis' two checks of wall time are off, those of what is drawn stay.
hypothesis.settings.register_profile("tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("tests")
os.environ.setdefault("MARTENSITE_CACHE", tempfile.mkdtemp(prefix="martensite-test-"))


@pytest.fixture(scope="session")
def loans():
    """Constraints of every kind on a small table, and a function (n, seed, dtype) to rows that keep them."""
    names = ("age", "income", "loans", "rent", "total", "red", "green", "blue", "limit", "debt")
    money = (0.0, 5000.0)
    rules = Constraints(
        names=names,
        units={"age": (0.0, 100.0), "income": money, "loans": (0.0, 20.0), "rent": money, "total": (0.0, 10000.0), "limit": money,
               "debt": money},
        fixed=("age",), ranges={"income": (100.0, 4500.0)}, integer=("loans",), one_hot=(("red", "green", "blue"),),
        relations=("total == income + rent", "debt <= limit", "debt <= 2 * income"),
    )  # fmt: skip

    def draw(n, seed, dtype=torch.float32):
        generator = torch.Generator().manual_seed(seed)
        rows = torch.rand(n, 10, generator=generator, dtype=torch.float64)
        rows[:, 0] *= 100
        rows[:, 1] = 100 + 4400 * rows[:, 1]
        rows[:, 2] = (20 * rows[:, 2]).round()
        rows[:, 3] *= 5000
        rows[:, 4] = rows[:, 1] + rows[:, 3]
        rows[:, 8] *= 5000
        rows[:, 9] = torch.minimum(rows[:, 9] * rows[:, 8], 2 * rows[:, 1])
        rows[:, 5:8] = torch.eye(3, dtype=torch.float64)[torch.randint(3, (n,), generator=generator)]
        ends = torch.tensor([rules.interval(place, (0.0, 1.0)) for place in range(10)], dtype=torch.float64)
        return ((rows - ends[:, 0]) / (ends[:, 1] - ends[:, 0])).to(dtype)

    return rules, draw


DIGITS = """
name: digits
seed: 1
data: {source: digits, limit: 200}
threat: {norm: linf, eps: 0.05}
model: {kind: mlp, hidden: [64]}
train: {epochs: 12, batch_size: 32, lr: 1e-2}
attack: [fgsm]
harden:
  objective: {kind: pgd_at, attack: {kind: pgd, steps: 2}}
  settings: {epochs: 4, batch_size: 32, lr: 5e-3, validation_attack: {kind: pgd, steps: 2}}
suite: {name: two, attacks: [fgsm, {kind: pgd, steps: 5}]}
certify: {method: {kind: smoothing, sigma: 0.2, n: 60, selection: 10, alpha: 0.01}, samples: 4}
gate: {min_clean_accuracy: 0}
"""


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory):
    """A run on digits, small but whole: ``report.json`` is about the bundle ``model/``. Copy it before you change it."""
    from martensite.cli.main import main

    folder = tmp_path_factory.mktemp("digits")
    (folder / "plan.yaml").write_text(DIGITS)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(SystemExit):
        main(["run", str(folder / "plan.yaml"), "--out", str(folder / "run")])
    return folder / "run"


PIN = "123456"
MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/local/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so",
)  # fmt: skip


@pytest.fixture(scope="session")
def tokens(tmp_path_factory):
    """URIs of keys in a token of softhsm2 by name: P-256 ``release`` and ``evaluator``, P-384 ``large``, ``rsa``, ``split``."""
    module = next((place for place in MODULES if Path(place).is_file()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("softhsm2 is not installed: apt-get install softhsm2")
    pkcs11 = pytest.importorskip("pkcs11", reason="the extra pkcs11 is not installed")
    from pkcs11.util.ec import encode_named_curve_parameters

    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    # The library reads its configuration once in a process, so it stays for the session.
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    for label in ("hsm", "other", "twin", "twin"):
        words = ("softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "so-pin-12", "--pin", PIN)
        subprocess.run(words, check=True, capture_output=True)
    (token,) = pkcs11.lib(module).get_tokens(token_label="hsm")
    with token.open(rw=True, user_pin=PIN) as session:
        for number, (name, curve) in enumerate((("release", "secp256r1"), ("evaluator", "secp256r1"), ("large", "secp384r1"))):
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}, local=True
            )
            parameters.generate_keypair(store=True, label=name, id=bytes([number]))
        first, second = (parameters.generate_keypair(store=True, label=label, id=b"s") for label in ("split", "joined"))
        first[0].destroy()  # now the public part of one and the private part of the other are all that bear the id
        second[1].destroy()
        session.generate_keypair(pkcs11.KeyType.RSA, 2048, store=True, label="rsa")
    uris = {name: f"pkcs11:token=hsm;object={name}?module-path={module}" for name in ("release", "evaluator", "large", "rsa")}
    return {**uris, "split": f"pkcs11:token=hsm;id=s?module-path={module}", "module": module}
