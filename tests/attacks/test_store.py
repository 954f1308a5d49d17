"""The store of finished batches: what was kept is taken up where all computes the same, and nowhere else."""

import copy
import subprocess
import sys
from threading import Lock
from typing import ClassVar, Literal

import pytest
import torch
from torch import nn

from martensite.attacks import EOT, PGD, Attack, Budget, Square, attack, losses, transfer, tuning
from martensite.attacks.fingerprint import UnknownError, fingerprint
from martensite.attacks.tuning import Pace
from martensite.core.errors import ModelError
from martensite.models import Access, BlackBox, Classifier, with_bpda
from martensite.threat import ThreatModel

THREAT = ThreatModel(eps=0.2)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(16, 3)

    def forward(self, x):
        return self.layer(x)


class Turned(Plain):
    def forward(self, x):
        return self.layer(1 - x)


class Rounded(nn.Module):
    def forward(self, x):
        return (x * 255).round() / 255


def classifier(kind=Plain, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Classifier(kind(), 3)


@pytest.fixture
def x():
    return torch.rand(20, 16, generator=torch.Generator().manual_seed(1))


def labels(model, x):
    with torch.no_grad():
        return model(x).argmax(1)


def kept(folder):
    return {file.name for file in folder.iterdir()}


def test_a_second_run_searches_nothing(x, tmp_path):
    model = classifier()
    first = attack(PGD(steps=5), model, x, labels(model, x), THREAT, store=str(tmp_path))
    files = kept(tmp_path)
    again = attack(PGD(steps=5), copy.deepcopy(model), x, labels(model, x), THREAT, store=tmp_path)
    assert len(files) == 1
    assert kept(tmp_path) == files
    assert torch.equal(first.adversarial, again.adversarial)
    assert first.backwards == again.backwards
    assert first.warnings == again.warnings == ()


def test_a_resumed_run_keeps_what_was_measured(x, tmp_path, monkeypatch):
    model, x = classifier(), x.repeat(5, 1)
    y = labels(model, x)
    paces = iter([Pace(30, "bfloat16"), Pace(50, "float32"), Pace(50, "float32")])
    monkeypatch.setattr(tuning, "tune", lambda model, x: next(paces))
    first, again = (
        attack(PGD(steps=5), model, x, y, THREAT, store=tmp_path, batch_size="auto", precision="auto") for _ in range(2)
    )
    assert (first.batch_size, first.precision) == (again.batch_size, again.precision) == (30, "bfloat16")
    assert torch.equal(first.adversarial, again.adversarial)
    (note,) = tmp_path.glob("*.json")
    note.write_text('{"batch_size": ')  # a disk that was full
    assert attack(PGD(steps=5), model, x, y, THREAT, store=tmp_path, batch_size="auto", precision="auto").batch_size == 50


def masked():
    torch.manual_seed(0)
    return Classifier(nn.Sequential(Rounded(), nn.Linear(16, 3)), 3)


def hooked():
    model = classifier()
    model.net.layer.register_full_backward_hook(lambda module, inner, outer: (-inner[0],))
    return model


def closed(by):
    model = classifier()
    model.net.layer.register_forward_pre_hook(lambda module, args: (args[0] + by,))
    return model


TWINS = {
    "bpda": (masked, lambda: with_bpda(masked(), "net.0")),
    "surrogate of bpda": (lambda: with_bpda(masked(), "net.0"), lambda: with_bpda(masked(), "net.0", lambda x: x * x)),
    "another forward": (classifier, lambda: classifier(Turned)),
    "a backward hook": (classifier, hooked),
    "what a hook closes over": (lambda: closed(0.0), lambda: closed(0.1)),
}


@pytest.mark.parametrize("twin", TWINS, ids=TWINS)
def test_the_same_weights_are_not_yet_the_same_model(x, tmp_path, twin):
    one, other = (make() for make in TWINS[twin])
    y = labels(one, x)
    attack(PGD(steps=5), one, x, y, THREAT, store=tmp_path)
    stored = attack(PGD(steps=5), other, x, y, THREAT, store=tmp_path)
    alone = attack(PGD(steps=5), other, x, y, THREAT)
    assert torch.equal(stored.adversarial, alone.adversarial)
    assert stored.backwards == alone.backwards
    assert fingerprint(one) != fingerprint(other)
    assert fingerprint(one) == fingerprint(TWINS[twin][0]())  # made afresh


def test_a_loss_that_was_mended_under_its_name(x, tmp_path, monkeypatch):
    model = classifier()
    y = labels(model, x)
    results = []
    for loss in (lambda z, y: 0 * z.sum(1), lambda z, y: -z.gather(1, y[:, None])[:, 0]):
        monkeypatch.setitem(losses.LOSSES, "mended", loss)
        method = PGD(steps=5, loss="mended", random_start=False)
        for one in (method, EOT(attack=method, samples=1, judge_samples=1)):
            results.append(int(attack(one, model, x, y, THREAT, store=tmp_path).success.sum()))
    assert results[:2] == [0, 0]
    assert min(results[2:]) > 0


def test_a_transfer_has_a_store_and_shares_none_with_a_direct_run(x, tmp_path):
    one, other = classifier(), classifier(seed=1)
    y = labels(one, x)
    attack(PGD(steps=5), one, x, y, THREAT, store=tmp_path)
    for _ in range(2):
        stored = attack(PGD(steps=5), other, x, y, THREAT, surrogate=one, store=tmp_path)
        assert torch.equal(stored.adversarial, attack(PGD(steps=5), other, x, y, THREAT, surrogate=one).adversarial)
    assert len(kept(tmp_path)) == 2
    moved = [transfer(PGD(steps=5), [one, other], other, x, y, THREAT, store=tmp_path) for _ in range(2)]
    assert torch.equal(moved[0].adversarial, moved[1].adversarial)
    assert len(kept(tmp_path)) == 3
    assert moved[1].warnings == ()


def test_an_attack_of_one_s_own_that_was_mended(x, tmp_path):
    def own(by):
        class Own(Attack):
            kind: Literal["own"] = "own"
            needs: ClassVar = Access.DECISIONS
            norms: ClassVar = ("linf",)

            def perturb(self, oracle, x, y, threat, rng):
                return (x + by).clamp(0, 1)

        return Own()

    model = classifier()
    y = labels(model, x)
    for by in (0.1, 0.2, 0.1):
        result = attack(own(by), model, x, y, THREAT, store=tmp_path)
        assert torch.equal(result.adversarial, torch.where(result.correct[:, None], (x + by).clamp(0, 1), x))
    assert len(kept(tmp_path)) == 2


# where the store stays unused


def test_what_nobody_can_recognise_is_not_resumed(x, tmp_path):
    model = classifier()
    model.net.lock = Lock()
    result = attack(PGD(steps=5), model, x, labels(model, x), THREAT, store=tmp_path)
    assert not kept(tmp_path)
    assert "the model holds a _thread.lock" in result.warnings[0]
    assert not result.error.any()


@pytest.mark.parametrize("limits", [{"queries": 3}, {"seconds": 60}, {"run_queries": 1000}, {"sample_seconds": 60}])
def test_a_budget_leaves_the_store_unused_and_says_so(x, tmp_path, limits):
    model = classifier()
    result = attack(PGD(steps=5), model, x, labels(model, x), THREAT, store=tmp_path, budget=Budget(**limits))
    assert not kept(tmp_path)
    assert "a budget of queries or time may cut a search short" in result.warnings[0]


def test_a_bound_cuts_no_search_short(x, tmp_path):
    model = classifier()
    result = attack(PGD(steps=5), model, x, labels(model, x), THREAT, store=tmp_path, budget=Budget(stop_below=0.01))
    assert len(kept(tmp_path)) == 1
    assert result.warnings == ()


def test_black_boxes(x, tmp_path):
    model = classifier()
    box = BlackBox(lambda a: nn.functional.one_hot(labels(model, torch.as_tensor(a)), 3).float(), 3)
    y = labels(model, x)
    with pytest.raises(ModelError, match="a black box was given with a store"):
        attack(Square(queries=5), box, x, y, THREAT, store=tmp_path)
    result = transfer(Square(queries=5), [box], model, x, y, THREAT, store=tmp_path)
    assert not kept(tmp_path)
    assert "a surrogate is a black box" in result.warnings[0]


# fingerprints


def test_fingerprints_are_the_same_in_every_process():
    code = (
        "import torch, martensite as mt\n"
        "from torch import nn\n"
        "from martensite.attacks.fingerprint import fingerprint\n"
        "torch.manual_seed(0)\n"
        "net = nn.Sequential(nn.Flatten(), nn.LSTM(4, 4), nn.utils.parametrizations.spectral_norm(nn.Linear(4, 3)))\n"
        "net.names, net.call = {'a', 'b', 'c'}, lambda x, of=frozenset('xyz'): x in {'u', 'v', 'w'}\n"
        "print(fingerprint(mt.Classifier(net, 3), *(mt.attacks.ATTACKS.get(n)() for n in mt.attacks.ATTACKS.names())))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


FACTOR = 2.0


def doubled(x):
    return FACTOR * x


def test_what_a_function_uses_counts(monkeypatch):
    before = fingerprint(lambda x: doubled(x))
    assert fingerprint(lambda x: doubled(x)) == before
    monkeypatch.setattr(sys.modules[__name__], "FACTOR", 3.0)
    assert fingerprint(lambda x: doubled(x)) != before


def test_settings_and_flags_count():
    assert fingerprint(nn.Dropout(0.1)) != fingerprint(nn.Dropout(0.2))
    assert fingerprint(nn.Dropout(0.1)) != fingerprint(nn.Dropout(0.1).eval())
    assert fingerprint([torch.zeros(2)]) != fingerprint([torch.zeros(2).double()])


class Slotted:
    __slots__ = "__own"

    def __init__(self, own):
        self.__own = own


class Hiding:
    def __init__(self, own):
        self.own = own

    def __getstate__(self):
        return {}


@pytest.mark.parametrize("kind", [Slotted, Hiding])
def test_what_an_object_holds_counts_however_it_holds_it(kind):
    assert fingerprint(kind(1)) == fingerprint(kind(1)) != fingerprint(kind(2))


def test_what_can_t_be_told_apart_is_refused(tmp_path):
    with (tmp_path / "file").open("w") as file:
        for value in (file, Lock(), lambda: file):
            with pytest.raises(UnknownError):
                fingerprint(value)


def test_a_batch_that_memory_capped_is_kept_and_capped_again(x, tmp_path, monkeypatch):
    model = classifier()
    y = labels(model, x)
    runs = []
    for most in (7, 9, 5):
        monkeypatch.setattr(tuning, "surely_fit", lambda x, batch: False)
        monkeypatch.setattr(tuning, "most_samples", lambda model, x, most=most: most)
        runs.append(attack(PGD(steps=5), model, x, y, THREAT, store=tmp_path).batch_size)
    assert runs == [7, 7, 5]  # more memory changes nothing; less of it counts
    other = attack(PGD(steps=5), model, x[:10].double(), y[:10], THREAT, store=tmp_path)
    assert other.batch_size == 5


@pytest.mark.parametrize("note", ['{"batch_size": 0, "precision": "float32"}', '{"batch_size": 3, "precision": "float64"}', "[]"])
def test_a_note_that_says_nothing_sensible_is_passed_over(x, tmp_path, note):
    model = classifier()
    y = labels(model, x)
    attack(PGD(steps=2), model, x, y, THREAT, store=tmp_path, batch_size="auto")
    (file,) = tmp_path.glob("*.json")
    file.write_text(note)
    result = attack(PGD(steps=2), model, x, y, THREAT, store=tmp_path, batch_size="auto")
    assert (result.batch_size, result.precision) == (20, "float32")
