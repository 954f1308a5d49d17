"""Evaluation: a closed form, the worst case, errors that count against, and the same report wherever the work runs."""

import concurrent.futures
import copy
import multiprocessing
import pickle

import pytest
import torch
from torch import nn

from martensite.attacks import FGSM, PGD, attack
from martensite.core.errors import ConfigError, DataError, ModelError, ThreatError
from martensite.data import Dataset
from martensite.engine import LocalEngine
from martensite.evaluation import RobustnessReport, Suite, clopper_pearson, evaluate
from martensite.models import Classifier
from martensite.threat import ThreatModel

CURVE = (0.25, 0.5, 0.75, 1.5, 2.0)
SUITE = Suite(
    name="test",
    attacks=(FGSM(), PGD(steps=5), PGD(steps=5, loss="margin")),
    curve=CURVE,
    curve_attack=PGD(steps=5),
)


def rough_model(seed=0):
    """A small net that is no linear model and that attacks of different strength break differently."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.Tanh(), nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 3))
        with torch.no_grad():
            for _ in range(5):
                net(torch.rand(64, 6))
            net[0].weight.mul_(6)
            net[3].weight.mul_(4)
        return Classifier(net, 3).eval()


@pytest.fixture(scope="module")
def model():
    return rough_model()


@pytest.fixture(scope="module")
def samples(model):
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        y = model(x).argmax(1)
    y[::10] = (y[::10] + 1) % 3
    return Dataset(x, y, 3, split="test")


@pytest.fixture(scope="module")
def report(model, samples):
    return evaluate(model, samples, ThreatModel(eps=0.03), SUITE)


def untimed(report):
    return report.model_dump(exclude={"timing"})


# the closed form


@pytest.mark.parametrize("suite", ["quick", "adaptive", pytest.param("standard", marks=pytest.mark.slow)])
def test_a_linear_model_has_its_closed_form(suite, linear, data, margin, threat):
    report = evaluate(linear, data, threat, suite)
    n, clean, robust = len(data), int((margin > 0).sum()), int((margin > threat.eps).sum())
    assert 0 < robust < clean < n
    assert (report.clean_accuracy.count, report.clean_accuracy.n) == (clean, n)
    assert (report.robust_accuracy.count, report.robust_accuracy.n) == (robust, n)
    for row in report.attacks:
        # A search for the nearest stops a little beyond the boundary.
        assert robust <= row.robust_accuracy.count <= robust + 2 * (row.name == "fmn")
    for point in report.curve:
        exact = int((margin > point.eps).sum())
        assert exact <= point.accuracy.count <= exact + 2
    assert report.invalid == ()
    assert all(canary.passed for canary in report.canaries)
    assert len(report.canaries) == 3
    expected = ["misclassified" if m <= 0 else "robust" if m > threat.eps else "broken" for m in margin.tolist()]
    assert list(report.outcomes) == expected


# the report adds up


def test_outcomes_counts_and_rows_agree(report, samples):
    n = len(samples)
    assert len(report.outcomes) == len(report.broken_by) == n
    counts = {outcome: report.outcomes.count(outcome) for outcome in ("robust", "broken", "misclassified", "error")}
    assert counts["robust"] > 0
    assert counts["broken"] > 0
    assert counts["misclassified"] == 6
    assert counts["error"] == 0
    assert report.robust_accuracy.count == counts["robust"]
    assert report.clean_accuracy.count == n - counts["misclassified"]
    names = [row.name for row in report.attacks]
    for outcome, by in zip(report.outcomes, report.broken_by, strict=True):
        assert (by in names) if outcome == "broken" else by is None
    for row in report.attacks:
        assert row.robust_accuracy.count + row.broken == report.clean_accuracy.count
        assert row.errors == 0
    for rate in (report.clean_accuracy, report.robust_accuracy, *(row.robust_accuracy for row in report.attacks)):
        assert rate.n == n
        assert rate.value == rate.count / n
        assert (rate.low, rate.high) == clopper_pearson(rate.count, n)


def test_the_worst_case_is_sample_by_sample(report, model, samples):
    threat = ThreatModel(eps=0.03)
    results = [attack(method, model, samples.x, samples.y, threat) for method in SUITE.attacks]
    robust = torch.stack([result.robust for result in results])
    assert [row.robust_accuracy.count for row in report.attacks] == robust.sum(1).tolist()
    assert [outcome == "robust" for outcome in report.outcomes] == robust.all(0).tolist()
    assert report.robust_accuracy.count <= robust.sum(1).min()
    assert [(row.forwards, row.backwards) for row in report.attacks] == [(r.forwards, r.backwards) for r in results]
    names = [row.name for row in report.attacks]
    for index, by in enumerate(report.broken_by):
        if by is not None:
            assert by == names[int(robust[:, index].int().argmin())]  # the first that broke it


def test_the_worst_case_can_be_worse_than_every_attack(linear, data, margin, threat):
    """Two attacks that each break one half: neither alone shows it."""

    class Half(FGSM):
        upper: bool

        def perturb(self, oracle, x, y, threat, rng):
            mine = ((x[:, 0] > 0.5) == self.upper).view(-1, 1)
            return torch.where(mine, super().perturb(oracle, x, y, threat, rng), x)

    report = evaluate(linear, data, threat, Suite(name="halves", attacks=(Half(upper=True), Half(upper=False))))
    assert report.robust_accuracy.count == int((margin > threat.eps).sum())
    assert all(row.robust_accuracy.count > report.robust_accuracy.count for row in report.attacks)
    assert {row.name for row in report.attacks} == set(report.broken_by) - {None}


def test_the_curve_is_sorted_and_holds_clean_and_robust_accuracy(report):
    eps = [point.eps for point in report.curve]
    assert eps == pytest.approx(sorted([0.0, 0.03, *(0.03 * multiple for multiple in CURVE)]))
    points = {point.eps: point.accuracy for point in report.curve}
    assert points[0.0] == report.clean_accuracy
    assert points[0.03] == report.robust_accuracy
    values = [point.accuracy.value for point in report.curve]
    assert values == sorted(values, reverse=True)


def test_a_curve_stays_within_the_box_and_above_one_feature(linear, data):
    class Flip(PGD):
        norms = ("linf", "l2", "l1", "l0")

        def perturb(self, oracle, x, y, threat, rng):
            return x

    for norm, eps, kept in (("linf", 0.6, [0.3, 0.6]), ("l0", 3.0, [1.5, 3.0, 6.0]), ("l2", 1.5, [0.75, 1.5])):
        suite = Suite(name="curve", attacks=(Flip(),), curve=(0.0, 0.25, 0.5, 1.0, 2.0), curve_attack=Flip())
        points = evaluate(linear, data, ThreatModel(norm=norm, eps=eps), suite).curve
        assert [point.eps for point in points if point.eps not in (0.0, 0.25 * eps)] == pytest.approx(kept)
        assert (norm == "l0") == (0.25 * eps not in [point.eps for point in points])


def test_attacks_of_one_kind_are_told_apart(report):
    assert [row.name for row in report.attacks] == ["fgsm", "pgd(steps=5)", "pgd(steps=5, loss=margin)"]
    assert {"total", "clean", *(row.name for row in report.attacks)} == set(report.timing)


def test_an_attack_with_its_defaults_has_a_plain_name(linear, data, threat):
    suite = Suite(name="two", attacks=(FGSM(), PGD(), PGD(steps=2)))
    assert [row.name for row in evaluate(linear, data, threat, suite).attacks] == ["fgsm", "pgd", "pgd(steps=2)"]


def test_an_event_an_attack_and_a_point_of_the_curve(linear, data, threat):
    events = []
    evaluate(linear, data, threat, SUITE, listener=events.append)
    total = len(SUITE.attacks) + len(CURVE)
    assert [(event.stage, event.done, event.total) for event in events] == [("evaluate", k + 1, total) for k in range(total)]


def test_an_attack_is_rebuilt_from_the_report(report):
    rebuilt = Suite.parse({"name": "again", "attacks": [row.attack for row in report.attacks]})
    assert rebuilt.attacks == SUITE.attacks


# errors


def test_errors_are_in_the_denominator_and_never_robust(linear, data, margin, threat, attacks):
    report = evaluate(linear, data, threat, Suite(name="faulty", attacks=(attacks.Raises(),)))
    failing = (data.x[:, 0] > 0.5) & (margin > 0)
    assert 0 < failing.sum() < len(data)
    row = report.attacks[0]
    assert row.errors == int(failing.sum())
    assert row.broken == 0
    assert report.robust_accuracy.n == row.robust_accuracy.n == len(data)
    assert report.robust_accuracy.count == row.robust_accuracy.count == int(((margin > 0) & ~failing).sum())
    assert [outcome == "error" for outcome in report.outcomes] == failing.tolist()
    assert report.clean_accuracy.count == int((margin > 0).sum())
    assert report.warnings == ("raises: RuntimeError: a feature above a half",)


@pytest.mark.parametrize("first", [True, False])
def test_what_another_attack_broke_is_broken_and_what_none_could_measure_is_an_error(
    first, linear, data, margin, threat, attacks
):
    pair = (attacks.Raises(), PGD(steps=3)) if first else (PGD(steps=3), attacks.Raises())
    report = evaluate(linear, data, threat, Suite(name="faulty", attacks=pair))
    for m, upper, outcome in zip(margin.tolist(), (data.x[:, 0] > 0.5).tolist(), report.outcomes, strict=True):
        robust = "error" if upper else "robust"
        assert outcome == ("misclassified" if m <= 0 else "broken" if m <= threat.eps else robust)
    assert report.robust_accuracy.count == report.outcomes.count("robust")


def test_a_point_outside_the_ball_breaks_nothing_and_proves_nothing(linear, data, margin, threat, attacks):
    report = evaluate(linear, data, threat, Suite(name="cheat", attacks=(attacks.Outside(),)))
    assert report.robust_accuracy.count == 0
    assert report.attacks[0].broken == 0
    assert report.attacks[0].errors == int((margin > 0).sum())
    assert "rejected" in report.warnings[0]
    assert report.attacks[0].rejected == int((margin > 0).sum())
    assert len(report.errors) == 1
    assert report.errors[0].startswith(
        f"outside at eps 0.1: the verifier rejected {report.attacks[0].rejected} of its candidates"
    )


def test_a_rejection_is_an_error_even_where_another_attack_breaks_the_sample(linear, data, margin, threat, attacks):
    wide = threat.at(0.9)
    suite = Suite(name="cheat", attacks=(PGD(steps=3), attacks.Nothing()), curve=(0.1,), curve_attack=attacks.Outside())
    report = evaluate(linear, data, wide, suite)
    assert report.outcomes.count("error") == 0
    assert [row.rejected for row in report.attacks] == [0, 0]
    assert len(report.errors) == 1
    assert report.errors[0].startswith("outside at eps 0.09: the verifier rejected")
    assert RobustnessReport.model_validate_json(report.model_dump_json()).errors == report.errors


def test_probabilities_instead_of_logits_are_warned_of(linear, data, threat, attacks):
    model = Classifier(nn.Sequential(linear.net, nn.Softmax(1)), 2)
    report = evaluate(model, data, threat, Suite(name="s", attacks=(FGSM(), PGD(steps=3))))
    assert sum("probabilities" in warning for warning in report.warnings) == 1
    assert report.errors == ()
    assert evaluate(linear, data, threat, Suite(name="s", attacks=(FGSM(),))).warnings == ()


def test_an_error_on_the_curve_alone_is_told(linear, data, margin, threat, attacks):
    suite = Suite(name="faulty", attacks=(attacks.Nothing(),), curve=(0.5,), curve_attack=attacks.Raises())
    report = evaluate(linear, data, threat, suite)
    assert report.curve[1].accuracy.count < report.robust_accuracy.count == int((margin > 0).sum())
    assert report.warnings == ("raises: RuntimeError: a feature above a half",)


# the same wherever it runs


class Backwards:
    """Does the last piece first."""

    def map(self, work, pieces):
        done = [work(piece) for piece in reversed(list(pieces))]
        return iter(done[::-1])


class Pickled:
    """Sends work, pieces and results through pickle, as an engine in another process does."""

    def map(self, work, pieces):
        for piece in pieces:
            yield pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(work))(pickle.loads(pickle.dumps(piece)))))


class OtherProcess:
    def map(self, work, pieces):
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            yield from pool.map(work, pieces)


@pytest.mark.parametrize("engine", [LocalEngine(), Backwards(), Pickled(), OtherProcess()], ids=lambda e: type(e).__name__)
def test_every_engine_gives_the_same_report(engine, report, model, samples):
    assert untimed(evaluate(model, samples, ThreatModel(eps=0.03), SUITE, engine=engine)) == untimed(report)


def test_a_seed_decides_and_the_global_stream_does_not(report, model, samples):
    threat = ThreatModel(eps=0.03)
    with torch.random.fork_rng():
        torch.manual_seed(99)
        before = torch.get_rng_state()
        again = evaluate(model, samples, threat, SUITE)
        assert torch.equal(before, torch.get_rng_state())
    assert untimed(again) == untimed(report)
    draws = {
        tuple(evaluate(model, samples, threat, Suite(name="one", attacks=(PGD(steps=1),)), seed=seed).outcomes)
        for seed in range(6)
    }
    assert len(draws) > 1


def test_the_model_stays_as_it_is(samples):
    model = rough_model().train()
    model.net[1].eval()
    model.net[0].weight.requires_grad_(False)
    before, kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}, copy.deepcopy(model)
    evaluate(model, samples, ThreatModel(eps=0.03), "quick")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [m.training for m in model.modules()] == [m.training for m in kept.modules()]
    assert [p.requires_grad for p in model.parameters()] == [p.requires_grad for p in kept.parameters()]
    assert all(p.grad is None for p in model.parameters())


def test_a_report_reloads_equal(report, tmp_path):
    report.save(tmp_path / "report.json")
    assert RobustnessReport.load(tmp_path / "report.json") == report


# the model's digest


def test_the_digest_names_the_model(report, model, samples):
    def digest(change=lambda model: None):
        other = copy.deepcopy(model)
        change(other)
        with_nothing = Suite(name="one", attacks=(FGSM(),))
        return evaluate(other, samples.subset(slice(0, 2)), ThreatModel(eps=0.03), with_nothing).model_dump()["model_digest"]

    def bump(tensor, place):
        with torch.no_grad():
            tensor.view(-1)[place] = torch.nextafter(tensor.view(-1)[place].float(), torch.tensor(10.0)).to(tensor)

    own = report.model_digest
    assert digest() == own
    assert digest(lambda m: m.train()) == own
    assert digest(lambda m: m.requires_grad_(False)) == own
    assert digest(lambda m: m(samples.x).sum().backward()) == own
    names = [name for name, tensor in model.net.state_dict().items() if tensor.is_floating_point()]
    changed = {digest(lambda m, name=name: bump(m.net.state_dict()[name], -1)) for name in names}
    changed |= {digest(lambda m: m.net.state_dict()["1.num_batches_tracked"].add_(1))}
    assert len(changed | {own}) == len(names) + 2


def test_the_digest_names_the_input_conventions(model):
    from martensite.models.digest import model_digest

    net = model.net
    conventions = [
        {},
        {"mean": 0.1},
        {"mean": 0.2},
        {"std": 0.5},
        {"mean": (0.1,) * 6},
        {"box": (0.0, 2.0)},
        {"box": (-1.0, 1.0)},
    ]
    digests = [model_digest(Classifier(net, 3, **options)) for options in conventions]
    assert len(set(digests)) == len(digests)
    assert model_digest(Classifier(copy.deepcopy(net), 3)) == digests[0]
    assert model_digest(Classifier(net, 4)) != digests[0]


# refused before any attack starts


class Unused:
    def map(self, work, pieces):
        raise AssertionError("an attack was started")


def refused(error, match, *args, **options):
    with pytest.raises(error, match=match):
        evaluate(*args, **{"engine": Unused(), **options})


def test_a_targeted_goal_is_refused(linear, data):
    refused(ThreatError, "targeted", linear, data, ThreatModel(eps=0.1, goal="targeted"), "quick")


def test_a_norm_that_no_attack_supports_is_refused(linear, data):
    alone = Suite(name="one", attacks=(FGSM(),))
    refused(ThreatError, "fgsm does not support l1", linear, data, ThreatModel(norm="l1", eps=0.1), alone)


def test_what_does_not_fit_is_left_out_and_named(linear, data):
    threat = ThreatModel(norm="l1", eps=0.1)
    suite = Suite(name="curve", attacks=(PGD(steps=2), FGSM()), curve=(0.5,), curve_attack=FGSM())
    report = evaluate(linear, data, threat, suite)
    assert [row.name for row in report.attacks] == ["pgd"]
    assert report.left_out == ("fgsm does not support l1",)
    assert [point.eps for point in report.curve] == [0.0, 0.1]
    without = Suite(name="no curve", attacks=(PGD(steps=1),), curve_attack=FGSM())
    evaluate(linear, data, ThreatModel(norm="l1", eps=0.1), without)


def test_an_unknown_suite_is_refused(linear, data, threat):
    refused(ConfigError, "standard", linear, data, threat, "standart")


def test_another_box_is_refused(linear, data):
    refused(ThreatError, "box", linear, data, ThreatModel(eps=0.1, box=(0.0, 2.0)), "quick")


def test_a_model_that_does_not_fit_is_refused(data, threat):
    refused(ModelError, "can't take", Classifier(nn.Linear(5, 2), 2), data, threat, "quick")
    refused(ModelError, "shape", Classifier(nn.Linear(6, 3), 2), data, threat, "quick")
    broken = nn.Linear(6, 2)
    nn.init.constant_(broken.bias, float("nan"))
    refused(ModelError, "NaN", Classifier(broken, 2), data, threat, "quick")


def test_inputs_and_labels_that_do_not_fit_are_refused(linear, data, threat):
    wide = Dataset(data.x * 3, data.y, 2, box=(0.0, 3.0))
    refused(DataError, "outside the box", linear, wide, threat, "quick", engine=None)
    more = Dataset(data.x, data.y * 2, 3)
    refused(DataError, "labels", linear, more, threat, "quick", engine=None)
    refused(
        ThreatError,
        "no two inputs",
        linear,
        data,
        ThreatModel(norm="l2", eps=9.0),
        Suite(name="l2", attacks=(PGD(),)),
        engine=None,
    )
