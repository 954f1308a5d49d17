"""Certificates as a report: the curve of certified accuracy adds up."""

import pytest
import torch

from martensite.certification import ABSTAIN, Certificates, Smoothing, certify
from martensite.evaluation import CertificationReport, summarise_certificates
from martensite.models.digest import model_digest

METHOD = Smoothing(sigma=0.25, n=200, test="fixed", selection=100)


def certificates(radius, correct):
    radius, correct = torch.tensor(radius, dtype=torch.float64), torch.tensor(correct)
    abstained = radius == 0
    prediction = torch.where(abstained, ABSTAIN, 0)
    return Certificates(radius, prediction, abstained, torch.full((len(radius),), 300), correct & ~abstained, "l2", 1.5)


def test_it_adds_up_and_reloads_equal(linear, data, tmp_path):
    few = data.subset(slice(0, 40))
    certs = certify(linear, few.x, few.y, METHOD, seed=3)
    report = summarise_certificates(certs, METHOD, linear, few, 3)
    assert report.accuracy.count == int(certs.correct.sum())
    assert report.accuracy.n == 40
    assert report.abstained == int(certs.abstained.sum())
    assert report.samples == 40 * 300
    assert report.model_digest == model_digest(linear)
    assert report.data.digest == few.digest
    assert Smoothing.parse(report.method) == METHOD
    radii = [point.eps for point in report.certified]
    assert radii == sorted(set(radii))
    assert radii[0] == 0.0
    assert 0 <= float(certs.radius.max()) - radii[-1] < 1e-4
    for point in report.certified:
        assert point.accuracy.count == sum(radius >= point.eps and radius > 0 for radius in report.radius)
    counts = [point.accuracy.count for point in report.certified]
    assert counts[0] == report.accuracy.count
    assert counts == sorted(counts, reverse=True)
    assert report.average_radius == pytest.approx(sum(report.radius) / 40)
    assert report.agreement == tuple(certs.agreement.tolist())
    assert report.record == certs.record
    report.save(tmp_path / "certificates.json")
    assert CertificationReport.load(tmp_path / "certificates.json") == report


def test_the_curve_of_tested_radii_has_its_points_there(linear, data):
    few, method = data.subset(slice(0, 20)), Smoothing(sigma=0.25, n=500, radii=(0.05, 0.1, 0.2, 0.4))
    certs = certify(linear, few.x, few.y, method)
    report = summarise_certificates(certs, method, linear, few, 0)
    assert [point.eps for point in report.certified] == [0.0, *[r for r in method.radii if r <= certs.radius.max()]]
    for point in report.certified[1:]:
        assert point.accuracy.count == int(certs.certified(point.eps).sum())


def test_a_wrong_class_counts_for_nothing_however_sure(linear, data):
    certs = certificates([0.5, 0.4, 0.0, 0.1], [False, True, True, True])
    report = summarise_certificates(certs, METHOD, linear, data.subset(slice(0, 4)), 0)
    assert report.radius == (0.0, 0.4, 0.0, 0.1)
    assert report.accuracy.count == 2
    assert report.abstained == 1
    assert report.certified[-1].eps == 0.5
    assert report.certified[-1].accuracy.count == 0


@pytest.mark.parametrize(("largest", "points"), [(0.0, 1), (1e-5, 1), (3.5e-4, 4), (0.5, 13)])
def test_no_radius_stands_twice_in_the_curve(largest, points, linear, data):
    certs = certificates([largest, 0.0], [True, True])
    report = summarise_certificates(certs, METHOD, linear, data.subset(slice(0, 2)), 0)
    radii = [point.eps for point in report.certified]
    assert len(radii) == len(set(radii)) == points
    assert report.certified[0].accuracy.count == report.accuracy.count


def test_the_longest_certificate_is_on_the_curve(linear, data):
    certs = certificates([0.3, 0.1], [True, True])
    report = summarise_certificates(certs, METHOD, linear, data.subset(slice(0, 2)), 0)
    assert report.certified[-1].accuracy.count == 1
