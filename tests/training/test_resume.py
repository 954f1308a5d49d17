"""A killed run goes on as if nothing had happened, or is refused."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from martensite.attacks import FGSM, PGD
from martensite.core.errors import ArtifactError, RunError, StorageError
from martensite.models import Classifier
from martensite.threat import ThreatModel
from martensite.training import EMA, SWA, Ramp, TrainingSettings, fit
from martensite.training.context import Context
from martensite.training.objectives import MEP, PGDAT, Free, Standard
from martensite.training.update import Updater

EPOCHS = 4
SETTINGS = TrainingSettings(epochs=EPOCHS, batch_size=32, lr=5e-3, validation_attack=PGD(steps=2), validate_every=2)


class Killed(BaseException):
    """Like Ctrl-C: not an `Exception`."""


def killer(epoch):
    def listener(event):
        if event.done == epoch:
            raise Killed

    return listener


@pytest.fixture
def run(tools, data, validation, threat):
    def run(checkpoint=None, model=None, settings=SETTINGS, objective=None, **options):
        model = tools.make_model("noisy") if model is None else model
        objective = PGDAT(attack=PGD(steps=2)) if objective is None else objective
        options = {"threat": threat, "checkpoint": checkpoint, **options}
        given = options.pop("data", data), options.pop("validation", validation)
        return fit(model, *given, objective, settings, **options)

    return run


@pytest.fixture
def equal(tools):
    def equal(one, other):
        assert tools.same(tools.weights(one.model), tools.weights(other.model))
        assert (one.history, one.best) == (other.history, other.best)
        assert (one.forwards, one.backwards) == (other.forwards, other.backwards)

    return equal


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
def test_resumed_after_any_epoch_it_ends_bit_equal(optimiser, run, equal, tmp_path):
    settings = SETTINGS.model_copy(update={"optimiser": optimiser, "weight_decay": 1e-3})
    whole = run(settings=settings)
    for epoch in range(1, EPOCHS + 1):
        file = tmp_path / f"{epoch}.safetensors"
        with pytest.raises(Killed):
            run(file, settings=settings, listener=killer(epoch))
        equal(run(file, settings=settings), whole)


def test_killed_after_every_epoch(run, equal, tmp_path):
    file = tmp_path / "checkpoint"
    for epoch in range(1, EPOCHS + 1):
        with pytest.raises(Killed):
            run(file, listener=killer(epoch))
    equal(run(file), run())


def test_killed_within_an_epoch_it_goes_on_from_the_last_whole_one(run, equal, tmp_path, monkeypatch):
    file, batches, begin = tmp_path / "checkpoint", [], Context.begin_batch

    def dies(self, rng, *rest):
        batches.append(rng)
        if len(batches) == 8:  # three batches an epoch
            raise Killed
        begin(self, rng, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Context, "begin_batch", dies)
        with pytest.raises(Killed):
            run(file)
    done = []
    equal(run(file, listener=lambda event: done.append(event.done)), run())
    assert done == [3, 4]


def test_a_checkpoint_changes_nothing_in_a_run_that_is_not_killed(run, equal, tmp_path):
    equal(run(tmp_path / "deep" / "checkpoint"), run())


def test_a_finished_run_is_not_run_again(run, equal, tools, tmp_path):
    file, model = tmp_path / "checkpoint", tools.make_model("counted")
    whole = run(file, model=model)
    before = model.net.count.forwards
    equal(run(file, model=model), whole)
    assert model.net.count.forwards - before == 2  # the probe


def test_layers_without_a_gradient_and_tied_weights_survive(run, equal, tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.unused, self.last = nn.Linear(6, 6), nn.Linear(3, 3), nn.Linear(6, 2)
            self.second = nn.Linear(6, 6)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.last(self.second(self.first(x).relu()).relu())

    def model():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            odd = Odd()
        odd.first.bias.requires_grad_(False)
        return Classifier(odd, 2)

    file = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        run(file, model=model(), listener=killer(2))
    resumed = run(file, model=model())
    equal(resumed, run(model=model()))
    assert resumed.model.net.second.weight is resumed.model.net.first.weight


# within an epoch


RICH = {
    "ema": (PGDAT(attack=PGD(steps=2)), {"average": EMA(decay=0.9), "optimiser": "sgd", "clip": 1.0}),
    "swa": (Standard(), {"average": SWA(start=0.2), "optimiser": "adamw"}),
    "scaled": (PGDAT(attack=FGSM()), {"precision": "float16"}),
    "stored": (MEP(), {}),
    "replayed": (Free(m=2), {"ramp": Ramp(until=0.5)}),
}


@pytest.mark.parametrize("name", RICH)
def test_killed_in_any_batch_it_ends_bit_equal(name, run, equal, tmp_path, monkeypatch):
    """Everything that has a state: averages, momentum, loss scaling, stored perturbations, a perturbation carried over."""
    objective, change = RICH[name]
    settings = SETTINGS.model_copy(update={"save_updates": 2, "validate_updates": 2, **change})
    whole, update, file = run(settings=settings, objective=objective), Updater.__call__, tmp_path / "checkpoint"
    for batch in (0, 1, 3, 4, 8, 11):  # twelve batches in all, three an epoch
        left = [batch]

        def dies(self, *rest, left=left):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            return update(self, *rest)

        file.unlink(missing_ok=True)
        with monkeypatch.context() as patch:
            patch.setattr(Updater, "__call__", dies)
            with pytest.raises(Killed):
                run(file, settings=settings, objective=objective)
        resumed = run(file, settings=settings, objective=objective)
        equal(resumed, whole)
        assert resumed.validations == whole.validations


SCRIPT = """
import sys
from pathlib import Path
import torch
from martensite.attacks import PGD
from martensite.core.rng import generator
from martensite.data import Dataset
from martensite.models import build
from martensite.threat import ThreatModel
from martensite.training import EMA, TrainingSettings, fit
from martensite.training.objectives import PGDAT

torch.set_num_threads(1)
x = torch.rand(300, 1, 8, 8, generator=generator(0, "x"))
y = (x.mean((1, 2, 3)) > 0.5).long()
model = build({"kind": "small_cnn", "width": 4}, (1, 8, 8), 2)
settings = TrainingSettings(epochs=4, batch_size=16, validation_attack=PGD(steps=2), save_updates=1, average=EMA(decay=0.9))
file = Path(sys.argv[1])
fit(model, Dataset(x[:200], y[:200], 2), Dataset(x[200:], y[200:], 2), PGDAT(attack=PGD(steps=20)), settings,
    threat=ThreatModel(eps=0.05), checkpoint=file, listener=lambda event: print("epoch", flush=True))
print("done", flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_by_sigkill_at_any_moment_goes_on_to_the_same_bits(tmp_path):
    """Kill -9 after a random wait, again and again; the last checkpoint is that of a run that was left alone."""
    (tmp_path / "script.py").write_text(SCRIPT)

    def start(name):
        command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / name)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    undisturbed = start("whole")
    waits, kills = random.Random(0), 0
    while True:
        process = start("killed")
        first = process.stdout.readline()  # an epoch has ended, or all have
        time.sleep(waits.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        rest = first + process.communicate()[0]
        if "done" in rest:
            break
        kills += 1
        assert kills < 20
    assert kills >= 1
    assert undisturbed.communicate()[0].endswith("done\n")
    whole, killed = (load_file(tmp_path / name) for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[name], killed[name]) for name in whole)


# refused


@pytest.fixture
def file(run, tmp_path):
    file = tmp_path / "checkpoint"
    with pytest.raises(Killed):
        run(file, listener=killer(1))
    return file


def another_model(tools):
    return tools.make_model("noisy", seed=1)


def another_dropout(tools):
    model = tools.make_model("noisy")
    model.net[3] = nn.Dropout(0.1)  # no weight differs
    return model


def another_activation(tools):
    model = tools.make_model("noisy")
    model.net[2] = nn.Tanh()
    return model


def another_mean(tools):
    return Classifier(tools.make_model("noisy").net, 2, mean=0.4, std=0.25)


def partly_frozen(tools):
    model = tools.make_model("noisy")
    model.net[0].requires_grad_(False)
    return model


@pytest.mark.parametrize(
    "changed",
    [
        {"seed": 1},
        {"stage": "harden"},
        {"objective": PGDAT(attack=PGD(steps=3))},
        {"objective": Standard()},
        {"threat": ThreatModel(eps=0.09)},
        {"threat": None, "objective": Standard()},
        *({"settings": SETTINGS.model_copy(update={key: value})} for key, value in [("lr", 1e-3), ("epochs", 5)]),
        {"settings": SETTINGS.model_copy(update={"validation_attack": FGSM()})},
        *({"model": make} for make in (another_model, another_dropout, another_activation, another_mean, partly_frozen)),
    ],
    ids=lambda changed: "-".join(f"{key} {getattr(value, '__name__', '')}".strip() for key, value in changed.items()),
)
def test_a_checkpoint_of_another_configuration_is_refused(changed, run, file, tools):
    content = file.read_bytes()
    changed = {key: value(tools) if key == "model" else value for key, value in changed.items()}
    with pytest.raises(RunError, match="another configuration"):
        run(file, **changed)
    assert file.read_bytes() == content


def test_a_checkpoint_of_other_data_is_refused(run, file, tools, data, validation):
    for changed in ({"data": tools.make_data(96, 9)}, {"validation": tools.make_data(40, 9)}):
        with pytest.raises(RunError, match="another configuration"):
            run(file, **changed)


def test_a_truncated_checkpoint_is_refused_wherever_it_ends(run, file):
    content = file.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(content) // 2, len(content) - 1):
        file.write_bytes(content[:length])
        with pytest.raises(ArtifactError, match="truncated"):
            run(file)
        assert file.read_bytes() == content[:length]


def test_a_file_that_is_no_checkpoint_is_refused(run, file, tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "weights")
    save_file({"weight": torch.zeros(3)}, tmp_path / "half", metadata={"key": "sha256:0", "epoch": "one", "record": "{}"})
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("not a checkpoint, but longer than eight bytes")
    for name in ("weights", "half", "folder", "text"):
        with pytest.raises(ArtifactError):
            run(tmp_path / name)


def test_a_checkpoint_that_cannot_be_written_is_an_error(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        run(tmp_path / "file" / "checkpoint")


def test_nothing_but_the_checkpoint_is_left(file):
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_a_checkpoint_is_safetensors_with_the_epoch_in_its_header(file):
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"]["epoch"] == "1"
    assert {name.partition(".")[0] for name in load_file(file)} == {"net", "best", "optimiser"}
