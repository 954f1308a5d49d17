"""The libraries that the attacks are compared with, each behind one function: x, y to adversarials.

foolbox and ART come with the bench extra. The others are in no extra, since their packages want torchvision, which the attacks
don't use: `make bench` puts them into a folder of their own, .venv/peers, without what they depend on. What they import and don't
need is an empty module here. Another folder: MARTENSITE_PEERS.

pyautoattack is the authors' own AutoAttack; numba is what Brendel and Bethge's attack needs in foolbox and ART.
"""

import copy
import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor

import martensite as mt
from martensite.attacks import ATTACKS

Run = Callable[[Tensor, Tensor], Tensor]
Runs = dict[str, Run]

BATCH = 250
OURS, OWN_CHOICES = "martensite", "martensite, own choices"
PACKAGES = {"foolbox": "foolbox", "art": "ART", "adv_lib": "adversarial-library", "torchattacks": "torchattacks"}
PACKAGES |= {"pyautoattack": "AutoAttack"}
STUBS = ("torchvision", "torchvision.transforms", "torchvision.transforms.functional", "visdom", "tqdm")


def load_peers() -> dict[str, ModuleType]:
    """The libraries that are at hand, by module name; says which are not, and how to get them."""
    sys.path.append(os.environ.get("MARTENSITE_PEERS", str(Path(sys.prefix) / "peers")))
    absent = {name.partition(".")[0] for name in STUBS if importlib.util.find_spec(name.partition(".")[0]) is None}
    sys.modules.update({name: Empty(name) for name in STUBS if name.partition(".")[0] in absent})
    found = {}
    for name, title in PACKAGES.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[name] = importlib.import_module(name)
        except ImportError as error:
            print(f"without {title} ({error}): make bench installs it", file=sys.stderr)
    return found


class Empty(ModuleType):
    """A module that has every name, and nothing behind it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__, self.__path__ = ModuleSpec(name, None), []

    def __getattr__(self, name: str) -> MagicMock:
        if name.startswith("__"):
            raise AttributeError(name)
        return MagicMock(name=name)


class Float32(torch.nn.Module):
    """Some of ART's attacks ask in float64."""

    def forward(self, x: Tensor) -> Tensor:
        """x in float32."""
        return x.float()


class Passes:
    """Counts samples through a model."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, module: object, inputs: tuple[Tensor, ...]) -> None:
        """A hook that comes before a forward pass."""
        self.count += len(inputs[0])


class Contenders:
    """Makes the contenders of a case: each method returns {name: function}, and nothing if that library isn't at hand.

    Args:
        peers: From `load_peers`.
        model: What is attacked.

    Attributes:
        passes: The count of the one that runs.
    """

    def __init__(self, peers: dict[str, ModuleType], model: mt.Classifier) -> None:
        self.passes, self._peers, self._bare, self._model = Passes(), peers, model, copy.deepcopy(model)
        self._model.register_forward_pre_hook(self.passes)
        if "art" in peers:
            classifiers = importlib.import_module("art.estimators.classification")
            loss = torch.nn.CrossEntropyLoss()
            self._art_model = classifiers.PyTorchClassifier(
                torch.nn.Sequential(Float32(), model), loss, (1, 28, 28), 10, clip_values=(0.0, 1.0), device_type="cpu"
            )

    def ours(self, kind: str, threat: mt.ThreatModel, tuned: bool = True, **parameters: object) -> Runs:
        """Ours in float32 in batches of 125, the default, and, if ``tuned``, as the engine itself chooses by measurement."""
        if kind not in ATTACKS.names():
            return {}
        method = ATTACKS.build({"kind": kind, **parameters})

        def fixed(x: Tensor, y: Tensor) -> Tensor:
            return self._counted(mt.attack(method, self._bare, x, y, threat))

        def own(x: Tensor, y: Tensor) -> Tensor:
            return self._counted(mt.attack(method, self._bare, x, y, threat, batch_size="auto", precision="auto"))

        return {OURS: fixed, OWN_CHOICES: own} if tuned else {OURS: fixed}

    def _counted(self, result: mt.attacks.AttackResult) -> Tensor:
        self.passes.count = result.forwards + result.discarded
        return result.adversarial

    def foolbox(self, name: str, eps: float | None = None, **parameters: Any) -> Runs:
        """An attack of foolbox; without eps its minimum-norm search."""
        if "foolbox" not in self._peers:
            return {}
        foolbox = self._peers["foolbox"]
        try:
            attack = getattr(foolbox.attacks, name)(**parameters)
        except NameError:  # numba isn't there
            return {}
        model = foolbox.PyTorchModel(self._model, bounds=(0, 1), device="cpu")
        return {"foolbox": in_batches(lambda x, y: attack(model, x, y, epsilons=eps)[1])}

    def art(self, name: str, **parameters: Any) -> Runs:
        """An attack of the adversarial robustness toolbox."""
        if "art" not in self._peers:
            return {}
        evasion = importlib.import_module("art.attacks.evasion")
        if not hasattr(evasion, name):  # numba isn't there
            return {}
        attack = getattr(evasion, name)(self._art_model, **parameters)
        return {"ART": lambda x, y: torch.from_numpy(attack.generate(x.numpy(), y.numpy()))}

    def adversarial_library(self, name: str, **parameters: Any) -> Runs:
        """An attack of adversarial-library."""
        if "adv_lib" not in self._peers:
            return {}
        attack = getattr(importlib.import_module("adv_lib.attacks"), name)
        return {"adversarial-library": in_batches(lambda x, y: attack(self._model, x, y, **parameters))}

    def torchattacks(self, name: str, **parameters: Any) -> Runs:
        """An attack of torchattacks."""
        if "torchattacks" not in self._peers:
            return {}
        attack = getattr(self._peers["torchattacks"], name)(self._model, **parameters)
        return {"torchattacks": in_batches(attack)}

    def autoattack(self, eps: float, norm: str = "Linf", alone: str | None = None) -> Runs:
        """The authors' AutoAttack, version standard; or one of its four attacks alone, with the parameters it has there."""
        if "pyautoattack" not in self._peers:
            return {}
        whole = self._peers["pyautoattack"].AutoAttack(self._model, eps=eps, norm=norm, seed=0, version="standard")
        whole.verbose = False
        if alone is not None:
            whole.attacks_to_run = [alone]

        def run(x: Tensor, y: Tensor) -> Tensor:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return whole.run_standard_evaluation(x, y, batch_size=BATCH)[0]  # type: ignore[no-any-return]

        return {"AutoAttack": run}


def in_batches(run: Run) -> Run:
    """A peer that takes one batch at a time."""
    return lambda x, y: torch.cat([run(x[i : i + BATCH], y[i : i + BATCH]).detach() for i in range(0, len(x), BATCH)])
