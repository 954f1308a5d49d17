"""The parts smoothed and certified of training.py: what training for certificates gives."""

import argparse

import torch
from bench_model import CACHE, mnist
from hardening import SHAPE, Figures, fresh, settings_of, told

import martensite as mt
from martensite.evaluation import Rate
from martensite.training import Ramp


def smoothed(options: argparse.Namespace) -> Figures:
    """Certified accuracy of the smoothed classifier at radius 1, by what trained its base."""
    sigma, found = options.sigma, {}
    objectives = {
        "gaussian": mt.objectives.Gaussian(sigma=sigma),
        "consistency": mt.objectives.Consistency(sigma=sigma, weight=5.0),
        "smoothadv": mt.objectives.SmoothAdv(sigma=sigma, attack=mt.attacks.PGD(steps=4)),
    }
    data, validation, test = mnist("train", options.train), mnist("validation", options.test), mnist("test", options.test)
    for name in options.objective or objectives:
        threat = mt.ThreatModel(norm="l2", eps=1.0)
        settings = settings_of(
            options, ramp=Ramp(until=0.4), guards=None, validate_every=options.epochs, attack_precision=options.attack_precision
        )
        result = mt.harden(
            fresh(options), data, threat, objectives[name], validation, settings=settings, listener=told(options)
        )  # fmt: skip
        method = mt.certification.Smoothing(sigma=sigma)
        certificates = mt.certify(result.model, test.x, test.y, method, radius=1.0)
        certified = Rate.of(int((certificates.radius >= 1.0).logical_and(certificates.prediction == test.y).sum()), len(test))
        print(f"  {name:<12} certified at radius 1: {certified}, {result.seconds:.0f} s to train", flush=True)
        found[name] = {"certified": certified.model_dump(), "seconds": result.seconds, "cost": result.cost.record()}
    return found


def certified(options: argparse.Namespace) -> Figures:
    """Certified accuracy in Linf of a small network that was trained for bounds; the ramp is what lets it learn."""
    found: Figures = {}
    data, validation, test = mnist("train", options.train), mnist("validation", options.test), mnist("test", options.test)
    training, threat = mt.ThreatModel(eps=options.train_eps or options.eps), mt.ThreatModel(eps=options.eps)
    for name in options.objective or ["ibp"]:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = torch.nn.Sequential(
                torch.nn.Conv2d(1, 16, 4, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(16, 32, 4), torch.nn.ReLU(),
                torch.nn.Flatten(), torch.nn.Linear(3200, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10),
            )  # fmt: skip
        settings = settings_of(
            options, ramp=Ramp(until=0.6), guards=None, validate_every=options.epochs, schedule="multistep",
            milestones=(0.75, 0.9), attack_precision=options.attack_precision,
        )  # fmt: skip
        start = mt.Classifier(net, classes=10, shape=SHAPE).to(options.device)
        result = mt.harden(start, data, training, name, validation, settings=settings, listener=told(options))
        mt.save_bundle(result.model, CACHE / f"certified_{name}_eps{options.eps:g}", threat=threat, shape=SHAPE)
        clean = Rate.of(int((result.model(test.x).argmax(1) == test.y).sum()), len(test))
        row: Figures = {"clean": clean.model_dump(), "seconds": result.seconds, "cost": result.cost.record()}
        for method in (mt.certification.IntervalBounds(), mt.certification.LinearBounds()):
            certificates = mt.certify(result.model, test.x, test.y, method, threat=threat)
            rate = Rate.of(int(certificates.certified(options.eps).sum()), len(test))
            row[method.kind] = {"certified": rate.model_dump(), "seconds": certificates.seconds}
            print(f"  {name:<10} clean {clean}, {method.kind} {rate}, {result.seconds:.0f} s to train", flush=True)
        found[name] = row
    return found
