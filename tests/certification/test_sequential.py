"""Certification as a run: sequential and anytime tests on a linear model, what a certificate records, batches, resuming."""

import json

import pytest
import torch
from scipy.stats import binom
from torch import nn

from martensite.certification import CERTIFIERS, Ablation, PatchSmoothing, Smoothing, UniformSmoothing, certify
from martensite.certification import cache as designs
from martensite.certification.design import looks
from martensite.core.errors import ConfigError, StorageError
from martensite.models import Classifier
from martensite.models.digest import model_digest

METHODS = [
    Smoothing(sigma=0.25, n=2000),
    Smoothing(sigma=0.25, n=2000, test="anytime"),
    Smoothing(sigma=0.25, n=500, test="fixed", selection=20),
    Smoothing(sigma=0.25, n=500, test="two_sided"),
    UniformSmoothing(width=0.5, n=2000),
    Ablation(keep=2, n=2000, selection=20),
]


def test_every_registered_method_is_tested_here():
    assert {method.kind for method in METHODS} | {"patch_smoothing", "interval_bounds", "linear_bounds"} == set(
        CERTIFIERS.names()
    )


def names(method):
    return f"{method.kind}-{method.test}"


# soundness and reach, on a linear model, where the true radius is the distance to the boundary


@pytest.mark.parametrize("test", ["sequential", "anytime"])
def test_certificates_of_any_radius_exceed_the_truth_no_oftener_than_alpha(test, tools):
    """2,000 inputs, alpha = 0.1; a sound method fails with chance 1e-6."""
    model, n, alpha = tools.linear(), 2000, 0.1
    x = tools.at_distance(model, torch.linspace(-0.5, 0.5, n, dtype=torch.float64))
    true = tools.true_radius(model, x)
    method = Smoothing(sigma=0.25, n=300, alpha=alpha, test=test)
    certs = certify(model, x, torch.zeros(n, dtype=torch.int64), method, seed=1)
    of_class = torch.where(certs.prediction == 0, true, -true)
    wrong = (certs.radius > of_class) & ~certs.abstained
    assert wrong.sum() <= binom.ppf(1 - 1e-6, n, alpha)
    assert wrong.sum() > 0  # the bound is a bound, not a retreat
    assert (~certs.abstained).float().mean() > 0.7


def test_one_radius_at_the_boundary(tools):
    """1,000 inputs whose true radius is the one tested, alpha 0.05; a sound method fails with chance 1e-6."""
    model, n = tools.linear(), 1000
    x = tools.at_distance(model, torch.full((n,), 0.25))
    radius = 0.25 + 1e-6  # beyond float32's rounding of the inputs
    certs = certify(model, x, torch.zeros(n, dtype=torch.int64), Smoothing(sigma=0.25, n=1000, alpha=0.05), radius=radius)
    assert binom.ppf(1e-6, n, 0.05 * 0.3) <= (~certs.abstained).sum() <= binom.ppf(1 - 1e-6, n, 0.05)


def test_it_spends_little_where_the_matter_is_clear(tools):
    model = tools.linear()
    x = tools.at_distance(model, torch.tensor([0.6, 0.02, 0.27]))
    certs = certify(model, x, torch.zeros(3, dtype=torch.int64), Smoothing(sigma=0.25), radius=0.25)
    assert certs.certified(0.25).tolist() == [True, False, True]
    assert certs.samples[:2].max() < 300 < certs.samples[2]
    assert certs.samples.max() <= 100_001


@pytest.mark.parametrize("method", METHODS, ids=names)
def test_one_radius_is_no_less_than_the_curve_certifies(method, tools):
    """The first radius of a curve is tested as if it were alone, on the same samples."""
    model, x, y = tools.linear(), tools.inputs(30), torch.zeros(30, dtype=torch.int64)
    curve = certify(model, x, y, method)
    first = method.grid((5,))[0]
    single = certify(model, x, y, method, radius=first)
    assert torch.equal(single.radius > 0, curve.radius >= first)
    assert set(single.radius.tolist()) <= {0.0, first}


def test_given_radii_are_the_ones_told_apart(tools):
    model, x, y = tools.linear(), tools.inputs(40), torch.zeros(40, dtype=torch.int64)
    for test in ("sequential", "fixed", "anytime"):
        method = Smoothing(sigma=0.25, n=3000, test=test, radii=(0.1, 0.3))
        certs = certify(model, x, y, method)
        assert set(certs.radius.tolist()) == {0.0, 0.1, 0.3}
        assert certs.record.radii == (0.1, 0.3)


def test_the_guess_is_the_clean_answer_or_a_selection_samples(tools):
    model = tools.linear()
    x = tools.at_distance(model, torch.tensor([0.3, -0.3]))
    for selection in (0, 50):
        certs = certify(model, x, torch.tensor([0, 1]), Smoothing(sigma=0.25, n=2000, selection=selection))
        assert certs.prediction.tolist() == [0, 1]
        assert certs.correct.all()
    record = tools.linear(record=True)
    certify(record, x, torch.tensor([0, 1]), Smoothing(sigma=0.25, n=100))
    assert torch.equal(record.net.shown[2], x)


def test_a_longer_anytime_run_goes_on_where_the_shorter_ended(tools):
    """The same samples and thresholds: what was certified stays so."""
    model, x, y = (
        tools.linear(),
        tools.at_distance(tools.linear(), torch.linspace(0.05, 0.5, 20)),
        torch.zeros(20, dtype=torch.int64),
    )
    few, many = (certify(model, x, y, Smoothing(sigma=0.25, n=n, test="anytime")) for n in (400, 8000))
    assert (many.radius >= few.radius).all()
    assert (many.radius > few.radius).any()


# batches, order, resuming


@pytest.mark.parametrize("method", METHODS, ids=names)
def test_batches_change_nothing(method, tools):
    model, x, y = tools.linear(), tools.inputs(9), torch.zeros(9, dtype=torch.int64)
    whole = certify(model, x, y, method, seed=3)
    for size in (1, 37, 100_000):
        certs = certify(model, x, y, method, seed=3, batch_size=size)
        assert torch.equal(certs.radius, whole.radius)
        assert torch.equal(certs.samples, whole.samples)
        assert torch.equal(certs.agreement, whole.agreement)
    alone = certify(model, x[4:5], y[4:5], method, seed=3, indices=torch.tensor([4]))
    assert torch.equal(alone.radius, whole.radius[4:5])
    assert torch.equal(alone.samples, whole.samples[4:5])


def test_batches_are_full_but_for_the_last(tools):
    model = tools.linear(record=True)
    certify(model, tools.inputs(20), torch.zeros(20, dtype=torch.int64), Smoothing(sigma=0.25, n=2000), batch_size=64)
    sizes = [len(batch) for batch in model.net.shown[3:]]
    assert len(sizes) > 50
    # The last input has nobody to share a batch with.
    assert sum(size < 64 for size in sizes) <= len(looks(2000))
    assert set(sizes[: len(sizes) // 2]) == {64}


@pytest.mark.parametrize("method", METHODS, ids=names)
@pytest.mark.parametrize("at", [1, 5])
def test_a_run_that_was_killed_goes_on(method, at, tools, tmp_path):
    x, y = tools.inputs(8), torch.zeros(8, dtype=torch.int64)
    whole = certify(tools.linear(record=True), x, y, method, seed=3)

    def killer(event):
        if event.done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        certify(tools.linear(record=True), x, y, method, seed=3, store=tmp_path, listener=killer)
    model, events = tools.linear(record=True), []
    resumed = certify(model, x, y, method, seed=3, store=tmp_path, listener=events.append)
    for name in ("radius", "prediction", "samples", "correct", "agreement"):
        assert torch.equal(getattr(resumed, name), getattr(whole, name))
    assert [event.done for event in events] == list(range(1, 9))
    fresh = tools.linear(record=True)
    certify(fresh, x, y, method, seed=3)
    assert sum(map(len, model.net.shown)) < sum(map(len, fresh.net.shown))


def test_what_was_kept_of_another_run_is_not_used(tools, tmp_path):
    x, y, method = tools.inputs(4), torch.zeros(4, dtype=torch.int64), Smoothing(sigma=0.25, n=500)
    certify(tools.linear(), x, y, method, store=tmp_path)
    others = [
        lambda: certify(tools.linear(), x, y, method, store=tmp_path, seed=1),
        lambda: certify(tools.linear(), x, y, method, store=tmp_path, radius=0.1),
        lambda: certify(tools.linear(), 1 - x, y, method, store=tmp_path),
        lambda: certify(tools.linear(), x, y, method, store=tmp_path, indices=torch.arange(4) + 1),
        lambda: certify(tools.linear(), x, y, Smoothing(sigma=0.26, n=500), store=tmp_path),
        lambda: certify(tools.linear(mean=0.1), x, y, method, store=tmp_path),
    ]
    for count, other in enumerate(others, start=2):
        other()
        assert len(list(tmp_path.iterdir())) == count


@pytest.mark.parametrize("harm", ["torn", "altered", "noise", "binary"])
def test_a_harmed_line_is_done_again(harm, tools, tmp_path):
    x, y, method = tools.inputs(5), torch.zeros(5, dtype=torch.int64), Smoothing(sigma=0.25, n=500)
    whole = certify(tools.linear(record=True), x, y, method, store=tmp_path)
    (file,) = tmp_path.iterdir()
    lines = file.read_text().splitlines()
    altered = json.loads(lines[-1])
    altered["tally"]["level"] = 12
    file.write_bytes(
        {
            "torn": "\n".join(lines)[:-20],
            "altered": "\n".join([*lines[:-1], json.dumps(altered)]) + "\n",
            "noise": "\n".join([*lines[:-1], '{"place": [], "tally": 3}', "[]", "7", ""]),
            "binary": "\n".join(lines[:-1]) + "\n\udcff",
        }[harm].encode(errors="surrogateescape")
    )
    again = certify(tools.linear(record=True), x, y, method, store=tmp_path)
    assert torch.equal(again.radius, whole.radius)
    model = tools.linear(record=True)
    assert torch.equal(certify(model, x, y, method, store=tmp_path).radius, whole.radius)
    assert sum(map(len, model.net.shown)) == 10 + 5  # the check of the model and the guesses


def test_a_folder_that_cannot_be_made(tools, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't be written"):
        certify(
            tools.linear(), tools.inputs(1), torch.tensor([0]), Smoothing(sigma=0.25, n=100), store=tmp_path / "file" / "store"
        )


# the cache of designs


@pytest.mark.parametrize("test", ["sequential", "fixed", "anytime"])
def test_designs_are_cached_whole_and_never_trusted_blindly(test, tmp_path, monkeypatch):
    monkeypatch.setenv("MARTENSITE_CACHE", str(tmp_path))
    first = designs.design(test, 0.1, 0.001, 5000)
    (file,) = (tmp_path / "designs").iterdir()
    good = file.read_text()
    made = []
    maker = designs.MAKERS[test]
    monkeypatch.setitem(designs.MAKERS, test, lambda *given: made.append(given) or maker(*given))
    assert designs.design(test, 0.1, 0.001, 5000) == first
    assert not made
    document = json.loads(good)
    document["design"]["reject"][-1] += 500  # a certificate for everyone
    other = designs.design(test, 0.2, 0.001, 5000)
    (elsewhere,) = (path for path in file.parent.iterdir() if path != file)
    made.clear()
    for harmed in (json.dumps(document), good[:-30], "", "[]", "null", "{}", elsewhere.read_text()):
        file.write_text(harmed)
        assert designs.design(test, 0.1, 0.001, 5000) == first
        assert file.read_text() == good
    assert len(made) == 7
    assert other != first


def test_a_disk_that_refuses_the_cache_costs_nothing_but_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MARTENSITE_CACHE", str(tmp_path / "file"))
    assert designs.design("fixed", 0.1, 0.001, 500).looks == (500,)


# the record


@pytest.mark.parametrize("method", [*METHODS, PatchSmoothing(size=1)], ids=lambda method: method.kind)
def test_a_certificate_says_what_it_rests_on(method):
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), 2).double()
    certs = certify(model, torch.rand(2, 1, 1, 5).double(), torch.tensor([0, 1]), method, seed=9)
    record = certs.record
    assert CERTIFIERS.build(record.method) == method
    assert (record.seed, record.dtype, record.radius) == (9, "float64", None)
    assert record.model_digest == model_digest(model)
    if method.kind == "patch_smoothing":
        assert record.spent == 0
        return
    assert 0 < record.spent <= method.alpha
    assert (record.design is None) == (method.test in ("fixed", "two_sided"))
    assert {"alpha", "n", "test"} <= set(record.method)
    again = certify(model, torch.rand(2, 1, 1, 5).double(), torch.tensor([0, 1]), method, seed=1)
    assert again.record.design == record.design
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_curve_and_average_radius(tools):
    model = tools.linear()
    x = tools.at_distance(model, torch.tensor([0.4, 0.3, -0.3, 0.0]))
    certs = certify(model, x, torch.zeros(4, dtype=torch.int64), Smoothing(sigma=0.25, n=3000))
    assert certs.curve([0.0, 0.05, 10.0]).tolist() == [certs.correct.float().mean(), certs.certified(0.05).float().mean(), 0.0]
    assert certs.average_radius == pytest.approx(float(certs.radius[certs.correct].sum()) / 4)
    assert certs.agreement.shape == (4,)
    assert ((certs.agreement >= 0) & (certs.agreement <= 1)).all()


# bad input


@pytest.mark.parametrize(
    ("method", "radius"),
    [
        (Smoothing(sigma=0.25, n=12), None),
        (Smoothing(sigma=0.25, n=300), 0.6),
        (Smoothing(sigma=0.25, n=300, test="anytime"), 0.6),
        (Smoothing(sigma=0.25, n=300, radii=(0.1, 0.6)), None),
        (Smoothing(sigma=0.25, n=100, test="fixed"), 0.5),
        (Smoothing(sigma=0.25, n=60, norm="linf"), 0.2),
        (UniformSmoothing(width=0.5, n=60), 0.45),
        (Ablation(keep=1, n=10), 1.0),
    ],
)
def test_too_few_samples_are_refused_and_the_least_number_is_enough(method, radius, tools):
    model, x, y = tools.linear(), tools.inputs(1), torch.tensor([0])
    with pytest.raises(ConfigError, match="give n of at least") as raised:
        certify(model, x, y, method, radius=radius)
    least = int(str(raised.value).rstrip(".").split()[-1])
    assert least > method.n
    certify(model, x, y, method.model_copy(update={"n": least}), radius=radius)
    if method.test != "anytime":  # betting's least number is found in steps of 2 %
        with pytest.raises(ConfigError):
            certify(model, x, y, method.model_copy(update={"n": least - 1}), radius=radius)


@pytest.mark.parametrize("method", [UniformSmoothing(width=0.5), Smoothing(sigma=0.1), Ablation(keep=3)])
def test_a_radius_that_no_number_of_samples_certifies(method, tools):
    with pytest.raises(ConfigError, match="shorter radius"):
        certify(tools.linear(), tools.inputs(1), torch.tensor([0]), method, radius=2.0)


@pytest.mark.parametrize("radii", [(0.2, 0.1), (0.1, 0.1)])
def test_radii_rise(radii, tools):
    with pytest.raises(ConfigError, match="radii rise"):
        certify(tools.linear(), tools.inputs(1), torch.tensor([0]), Smoothing(sigma=0.25, radii=radii))


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_holds_something(size, tools):
    with pytest.raises(ConfigError, match="batch_size"):
        certify(tools.linear(), tools.inputs(1), torch.tensor([0]), Smoothing(sigma=0.25), batch_size=size)
