"""An attack in flight: PGD adversarials among a server's clean requests, made without and with knowledge of the detectors.

The bench CNN (standard training, MNIST) behind two detectors, calibrated together to 1 % of false alarms, serves requests of one
image. After a while of clean traffic a share of the requests are adversarials at Linf eps. Printed: the share of them that is
flagged, the share that gets a wrong answer unflagged, false alarms on the clean requests among them (95 % intervals, Wilson), and
after how many requests of the attack the monitors ring: the rule that is shipped for Prometheus (on all traffic so far, not the
last minute), and the anytime-valid test of the detectors' p-values.

    python benchmarks/in_flight.py [--samples 300] [--share 0.2] [--eps 0.1 0.2] [--steps 40]
"""

import argparse
import asyncio
import sys
import tempfile
from math import sqrt
from pathlib import Path

import httpx
import torch

import martensite as mt
from martensite.artifacts.reference import add_reference
from martensite.defenses import Defence, Defended, Energy, Mahalanobis, defend
from martensite.evaluation.adaptive import assault
from martensite.evaluation.intervals import wilson
from martensite.serving import Fleet, ServeConfig, create_app
from martensite.serving.monitoring.drift.reference import Reference

sys.path.insert(0, str(Path(__file__).resolve().parent))
from bench_model import bench_model, mnist

ALPHA = 0.01
LEAD = 300  # clean requests before the attack


def main() -> int:
    parser = argparse.ArgumentParser(description="adversarials among a server's clean requests")
    parser.add_argument("--samples", type=int, default=300, help="adversarials of each kind")
    parser.add_argument("--share", type=float, default=0.2, help="of the requests during the attack")
    parser.add_argument("--eps", type=float, nargs="+", default=[0.1, 0.2])
    parser.add_argument("--steps", type=int, default=40)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = bench_model(hardened=False)
    guarded = defend(model, Defence(detectors=(Mahalanobis(), Energy()), false_alarms=ALPHA), mnist("validation", 3000))
    test = mnist("test", 8000)
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(0))
    known, victims, clean = (test.subset(order[a:b]) for a, b in ((0, 2000), (2000, 2000 + asked.samples), (3000, 8000)))
    with tempfile.TemporaryDirectory() as folder:
        place = mt.save_bundle(guarded, Path(folder) / "guard", shape=(1, 28, 28))
        add_reference(place, Reference.of(guarded, known).to_bytes())
        for eps in asked.eps:
            threat, method = mt.ThreatModel(norm="linf", eps=eps), mt.attacks.PGD(steps=asked.steps, restarts=1)
            naive = mt.attack(method, model, victims.x, victims.y, threat, seed=0).adversarial
            adaptive = assault(method, guarded, victims.x, victims.y, threat, seed=0).adversarial
            for name, x in (("naive", naive), ("adaptive", adaptive)):
                asyncio.run(fly(place, f"eps {eps:g}, {name}", guarded, x, victims.y, clean.x, asked.share))
    return 0


async def fly(
    place: Path, name: str, model: Defended, x: torch.Tensor, y: torch.Tensor, clean: torch.Tensor, share: float
) -> None:
    """Send it all, and print what the server said and what its monitors saw."""
    config = {"models": [{"name": "m", "bundle": str(place)}], "insecure_no_evidence": True}
    fleet = Fleet(ServeConfig.parse(config | {"monitoring": {"drift": {"budget": 1.0, "embedded_share": 0.2}}}))
    fleet.load()
    others = round(len(x) * (1 - share) / share)
    chance = torch.Generator().manual_seed(1)
    kinds = torch.cat([torch.ones(len(x)), torch.zeros(others)])[torch.randperm(len(x) + others, generator=chance)].bool()
    bad, good = iter(range(len(x))), iter(range(LEAD, len(clean)))
    fools = model.base(x).argmax(1) != y
    flagged = through = sent = false = rule = test = 0
    async with httpx.AsyncClient(transport=httpx.ASGITransport(create_app(fleet)), base_url="http://127.0.0.1") as client:
        early = sum([(await ask(client, clean[one]))[0] for one in range(LEAD)])
        for turn, adversarial in enumerate(kinds.tolist(), start=1):
            if adversarial:
                one = next(bad)
                rang, answer = await ask(client, x[one])
                sent += bool(fools[one])
                flagged += rang and bool(fools[one])
                through += not rang and answer != int(y[one])
            else:
                false += (await ask(client, clean[next(good)]))[0]
            if turn % 20 == 0 and not (rule and test):
                fleet.live.desk.settle()
                version = fleet.live.snapshot().models[0].versions[0]
                n = LEAD + turn
                rule = rule or turn * (version.alarms.flagged > 5 + 2 * n * ALPHA + 6 * sqrt(n * ALPHA))
                test = test or turn * any(
                    one.alarm for one in version.drift.tests if (one.name, one.about) == ("sequential", "detectors")
                )
    fleet.live.desk.settle()
    rang_at_last = [f"{one.name}/{one.about}" for one in fleet.live.snapshot().models[0].versions[0].drift.tests if one.alarm]
    fleet.close()
    print(f"{name}: {sent} of {len(x)} fool the bare model, {rate(flagged, sent)} of these flagged")
    print(f"  wrong and unflagged {rate(through, len(x))}; false alarms {rate(early, LEAD)} before, {rate(false, others)} during")
    print(
        f"  the rule rings after {rule or 'no'} requests, the test after {test or 'no'}; drift: {', '.join(rang_at_last) or '-'}"
    )


async def ask(client: httpx.AsyncClient, x: torch.Tensor) -> tuple[bool, int]:
    """Whether one image is flagged, and the predicted class."""
    document = {"inputs": [{"name": "input", "datatype": "FP32", "shape": [1, *x.shape], "data": x.flatten().tolist()}]}
    answer = (await client.post("/v2/models/m/infer", json=document)).json()
    predicted = next(one for one in answer["outputs"] if one["datatype"] == "INT64")["data"][0]
    return answer["parameters"]["decision"] == "flagged", int(predicted)


def rate(count: int, n: int) -> str:
    """With its interval."""
    if not n:
        return "none"
    low, high = wilson(count, n)
    return f"{count / n:.1%} [{low:.1%}, {high:.1%}]"


if __name__ == "__main__":
    sys.exit(main())
