"""Memory: what a batch takes is estimated, a batch that doesn't fit is halved, and the run goes on with the smaller size."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from martensite.attacks import PGD, attack, memory, tuning
from martensite.attacks.memory import most_samples, out_of_memory
from martensite.core.errors import ConfigError
from martensite.models import Access, BlackBox, Classifier
from martensite.threat import ThreatModel

THREAT = ThreatModel(eps=0.1)
CPU_MESSAGE = "[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate"
FAULTS = [torch.OutOfMemoryError("CUDA out of memory."), MemoryError(), RuntimeError(CPU_MESSAGE)]


class Small(nn.Module):
    """Takes no more than so many samples at once, as if memory were full; notes the sizes that it passes."""

    def __init__(self, most, fault):
        super().__init__()
        self.net, self.most, self.fault, self.sizes = nn.Linear(6, 3), most, fault, []

    def forward(self, x):
        if len(x) > self.most:
            raise self.fault
        self.sizes.append(len(x))
        return self.net(x)


def samples(n):
    return torch.rand(n, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_run_goes_on_with_half_the_batch(fault):
    x, unlimited = samples(120), Small(10**6, fault)
    small = Small(9, fault)
    small.load_state_dict(unlimited.state_dict())
    with torch.no_grad():
        y = unlimited.net(x).argmax(1)
    whole = attack(PGD(steps=5), Classifier(unlimited, 3), x, y, THREAT, batch_size=64)
    calls = []
    small.register_forward_pre_hook(lambda module, args: calls.append(len(args[0])))
    result = attack(PGD(steps=5), Classifier(small, 3), x, y, THREAT, batch_size=64)
    assert not result.error.any(), result.messages
    assert torch.equal(result.success, whole.success)
    torch.testing.assert_close(result.adversarial, whole.adversarial)
    # On a CPU passes without a gradient are split in parts of 32 anyway, so the first to fail is one of those.
    assert sum(size > 9 for size in calls) <= 3  # 64 -> 32 -> 16 -> 8, once in all the run
    assert max(small.sizes) <= 8


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
def test_a_sample_that_never_fits_is_an_error(fault):
    model, x = Classifier(Small(1, fault), 3), samples(6)
    with torch.no_grad():
        y = model.net.net(x).argmax(1)

    class Pairs(PGD):
        def perturb(self, oracle, x, y, threat, rng):
            oracle.gradient(x.repeat(2, 1), lambda logits: logits[:, 0])
            return x

    result = attack(Pairs(), model, x, y, THREAT)
    assert result.error.all()
    assert not result.robust.any()


def test_a_clean_sample_that_never_fits_stops_the_run():
    with pytest.raises(torch.OutOfMemoryError):
        attack(PGD(), Classifier(Small(0, FAULTS[0]), 3), samples(4), torch.zeros(4).long(), THREAT)


def test_other_faults_are_no_matter_of_memory():
    assert all(out_of_memory(fault) for fault in FAULTS)
    for fault in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("out of memory"), KeyboardInterrupt()):
        assert not out_of_memory(fault)


def test_what_a_pass_keeps_is_counted(monkeypatch):
    # Linear(1000, 1000)-ReLU-Linear(1000, 2), float32: x, the hidden layer after ReLU; each once, and once for its gradient.
    model = Classifier(nn.Sequential(nn.Linear(1000, 1000), nn.ReLU(), nn.Linear(1000, 2)), 2)
    x = torch.rand(8, 1000)
    monkeypatch.setattr(memory, "available", lambda device: 10**9)
    own = memory.COPIES * 4 * 1000
    most = most_samples(model, x)
    # The first layer's input is kept only for the weights' gradients, which are not computed once they are frozen.
    model.requires_grad_(False)
    frozen = most_samples(model, x)
    assert 0.5e9 / (own + 2 * 3 * 4000) <= most <= frozen <= 0.5e9 / (own + 2 * 4000) + 1
    assert most_samples(BlackBox(lambda a: a[:, :2], 2), x) == int(0.5e9 / own)
    monkeypatch.setattr(memory, "available", lambda device: None)
    assert most_samples(model, x) is None
    monkeypatch.setattr(memory, "available", lambda device: 1000)
    assert most_samples(model, x) == 1


def test_an_unknown_system_has_no_cap(monkeypatch):
    here = torch.device("cpu")
    assert memory.available(here) > 2**20
    monkeypatch.setattr(memory, "CGROUP", Path("/nowhere"))
    monkeypatch.setattr(memory, "MEMINFO", Path("/nowhere"))
    assert memory.available(here) > 2**20  # as other systems than Linux say it
    monkeypatch.delattr(os, "sysconf")
    assert memory.available(here) is None


@pytest.mark.parametrize(
    ("machine", "limit", "used", "cached", "free"),
    [
        (4_000_000, "max", 0, 0, 4_096_000_000),
        (4_000_000, "2000000000", 1_500_000_000, 100_000_000, 600_000_000),
        (4_000_000, "90000000000", 1_500_000_000, 0, 4_096_000_000),
        (4_000_000, "1000", 5000, 0, 0),
    ],
)
def test_free_is_what_the_machine_and_the_container_leave(tmp_path, monkeypatch, machine, limit, used, cached, free):
    (tmp_path / "meminfo").write_text(f"MemTotal: 9 kB\nMemFree: 7 kB\nMemAvailable:   {machine} kB\n")
    for name, content in {"max": limit, "current": used, "stat": f"anon 12\ninactive_file {cached}"}.items():
        (tmp_path / f"memory.{name}").write_text(f"{content}\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.available(torch.device("cpu")) == free


@pytest.mark.parametrize("asked", [None, "auto"])
def test_the_batch_is_capped_by_memory(monkeypatch, asked):
    model, x = Classifier(nn.Linear(6, 3), 3), samples(300)
    with torch.no_grad():
        y = model(x).argmax(1)
    sizes = []
    model.net.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    monkeypatch.setattr(tuning, "most_samples", lambda model, x: 20)
    monkeypatch.setattr(tuning, "surely_fit", lambda x, batch: False)
    result = attack(PGD(steps=2), model, x, y, THREAT, batch_size=asked)
    assert not result.error.any()
    assert max(sizes) <= result.batch_size == 20
    assert len(sizes) > 15
    assert attack(PGD(steps=2), model, x, y, THREAT, batch_size=100).batch_size == 100  # what is given stays


def test_a_small_memory_is_noticed_and_a_large_one_asks_nothing(monkeypatch):
    asked = []
    monkeypatch.setattr(tuning, "most_samples", lambda model, x: asked.append(len(x)))
    model, images = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3072, 3)), 3), torch.rand(130, 3, 32, 32)
    for free, looked in ((64 * 10**9, []), (8 * 10**9, [130])):
        monkeypatch.setattr(memory, "available", lambda device, free=free: free)
        attack(PGD(steps=1), model, images, torch.zeros(130).long(), THREAT)
        assert asked == looked


def test_an_unasked_batch_is_the_usual_one():
    model, x = Classifier(nn.Linear(6, 3), 3), samples(300)
    result = attack(PGD(steps=2), model, x, torch.zeros(300).long(), THREAT)
    assert (result.batch_size, result.precision) == (125, "float32")


def test_what_was_measured_repeats_the_run():
    model, x = Classifier(nn.Linear(6, 3), 3), samples(300)
    y = torch.zeros(300).long()
    first = attack(PGD(steps=3), model, x, y, THREAT, batch_size="auto", precision="auto")
    assert first.batch_size in tuning.CPU_BATCHES
    again = attack(PGD(steps=3), model, x, y, THREAT, batch_size=first.batch_size, precision=first.precision)
    assert torch.equal(again.adversarial, first.adversarial)


@pytest.mark.parametrize("asked", [None, "auto"])
def test_looking_at_the_model_draws_nothing(monkeypatch, asked):
    class Noisy(nn.Module):
        def forward(self, x):
            return x[:, :3] + torch.rand(len(x), 3)

    monkeypatch.setattr(tuning, "surely_fit", lambda x, batch: False)

    def drawn(batch_size):
        torch.manual_seed(3)
        return attack(PGD(steps=1), Classifier(Noisy(), 3), samples(10), torch.zeros(10).long(), THREAT, batch_size=batch_size)

    assert torch.equal(drawn(asked).adversarial, drawn(10).adversarial)


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"batch_size": "fast"}, {"precision": "float16"}, {"precision": "fast"}])
def test_no_batch_and_no_precision(wrong):
    with pytest.raises(ConfigError, match=str(next(iter(wrong.values())))):
        attack(PGD(), Classifier(nn.Linear(6, 3), 3), samples(4), torch.zeros(4).long(), THREAT, **wrong)


def test_parameters_gradients_are_never_computed():
    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.needed = nn.Linear(6, 3), []

        def forward(self, x):
            logits = self.net(x)
            self.needed += [parameter.requires_grad for parameter in self.parameters()]
            nodes, seen = [logits.grad_fn], set()
            while nodes:  # the graph of the pass leads to the input alone
                node = nodes.pop()
                if node is None or node in seen:
                    continue
                seen.add(node)
                if hasattr(node, "variable"):
                    assert node.variable.shape == x.shape
                nodes += [following for following, _ in node.next_functions]
            return logits

    model, x = Classifier(Watched(), 3), samples(20)
    result = attack(PGD(steps=3), model, x, torch.zeros(20).long(), THREAT)
    assert not result.error.any(), result.messages
    assert model.net.needed
    assert not any(model.net.needed)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_black_box_has_an_automatic_batch_too():
    from martensite.attacks import Square

    box = BlackBox(lambda a: a[:, :3], 3, access=Access.SCORES)
    x = samples(40)
    result = attack(Square(queries=5), box, x, x[:, :3].argmax(1), THREAT, batch_size="auto")
    assert not result.error.any()


def test_the_result_says_bfloat16_only_of_a_search_in_it():
    from martensite.attacks import DDN, Square

    model, x = Classifier(nn.Linear(6, 3), 3), samples(20)
    with torch.no_grad():
        y = model(x).argmax(1)
    l2 = ThreatModel(norm="l2", eps=0.1)
    said = [
        attack(method, each, x, y, threat, precision="bfloat16").precision
        for method, each, threat in (
            (PGD(steps=2), model, THREAT),
            (DDN(steps=2), model, l2),
            (Square(queries=3), model, THREAT),
            (PGD(steps=2), Classifier(nn.Linear(6, 3).double(), 3), THREAT),
        )
    ]
    assert said == ["bfloat16", "float32", "float32", "float32"]
