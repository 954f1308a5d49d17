"""Randomized smoothing on a noise-trained MNIST model: the published procedure, ART's, and ours.

    python benchmarks/certify.py [--sigma 0.25 0.5] [--images 300] [--rounds 5]

Published (Cohen et al. 2019): n0 = 100, n = 100,000, alpha = 0.001, whatever the image. Ours: the sequential test at the same
alpha and the same most samples, at one radius and for a curve of radii. What the published procedure would certify is known on
the same images: where our curve's samples leave a rate of misses (Clopper-Pearson at 1e-4) at which it could go either way, it is
run itself, on a tenth of its samples and then in full; elsewhere its outcome is known but for about 1e-4. Seconds are samples by
the samples a second that were measured, and what is stored of an earlier run is taken from there.
"""

import argparse
import math
import statistics
import time

import torch
from bench_model import CACHE, mnist
from noisy_model import noisy_model
from scipy.stats import binom
from torch import Tensor

import martensite as mt
from martensite.certification import Smoothing
from martensite.certification.certifier import pass_size
from martensite.certification.design import fixed_design
from martensite.certification.sampled import upper

STORE = CACHE / "certificates"  # a benchmark that was stopped goes on
RADII, N, N0, ALPHA = (0.25, 0.5, 0.75, 1.0), 100_000, 100, 0.001


def bare_loop(model: mt.Classifier, x: Tensor, n: int, sigma: float, batch: int) -> None:
    """Noise, forward pass, argmax: what nobody can leave out."""
    with torch.inference_mode():
        for image in x:
            counts = torch.zeros(model.classes, dtype=torch.int64)
            for start in range(0, n, batch):
                size = min(batch, n - start)
                noisy = torch.randn(size, *image.shape).mul_(sigma).add_(image)
                counts += model(noisy).argmax(1).bincount(minlength=model.classes)


def throughput(model: mt.Classifier, x: Tensor, y: Tensor, sigma: float, rounds: int) -> float:
    """Prints samples a second of the bare loop and of ours, fixed and sequential; returns that of the fixed mode."""
    batch, n = pass_size(model, x), 40_000  # the 20 ms of checks and digests that a certificate begins with are not the loop's
    rates: dict[str, list[float]] = {"bare loop": [], "ours, fixed n": [], "ours, sequential": []}
    fixed = Smoothing(sigma=sigma, n=n, test="fixed")
    for turn in range(rounds + 1):
        started = time.perf_counter()
        bare_loop(model, x[:1], n, sigma, batch)
        bare = n / (time.perf_counter() - started)
        certificates = mt.certify(model, x[:1], y[:1], fixed, seed=turn)
        looked = mt.certify(model, x[:30], y[:30], Smoothing(sigma=sigma), radius=2 * sigma, seed=turn)
        if turn:  # the first round warms up
            rates["bare loop"].append(bare)
            rates["ours, fixed n"].append(float(certificates.samples.sum()) / certificates.seconds)
            rates["ours, sequential"].append(float(looked.samples.sum()) / looked.seconds)
    for name, found in rates.items():
        ratio = statistics.median(mine / base for mine, base in zip(found, rates["bare loop"], strict=True))
        print(
            f"  {name:<17}{statistics.median(found):>9,.0f} samples/s  {ratio:.3f} of the bare loop (median of {rounds} rounds)"
        )
    return statistics.median(rates["ours, fixed n"])


def art_seconds(model: mt.Classifier, image: Tensor, sigma: float, batch: int) -> float | None:
    """Seconds that ART takes to sample N noisy copies of one image; its certify() needs statsmodels for the bound besides."""
    try:
        from art.estimators.certification.randomized_smoothing import PyTorchRandomizedSmoothing
    except ImportError:
        print("ART is not installed: make bench installs it")
        return None
    smoothed = PyTorchRandomizedSmoothing(
        model,
        loss=torch.nn.CrossEntropyLoss(),
        input_shape=tuple(image.shape),
        nb_classes=model.classes,
        clip_values=None,
        device_type="cpu",
        sample_size=N0,
        scale=sigma,
        alpha=ALPHA,
    )
    started = time.perf_counter()
    smoothed._prediction_counts(image.numpy(), n=N // 10, batch_size=batch)
    return 10 * (time.perf_counter() - started)


def reachable(sigma: float) -> list[float]:
    """The radii that 100,000 agreeing samples can certify."""
    longest = Smoothing(sigma=sigma, n=N, test="fixed").radius(N, N)
    return [radius for radius in RADII if radius <= longest]


def compare(sigma: float, images: int, rounds: int) -> None:
    model, data = noisy_model(sigma), mnist("test", images)
    x, y, radii, method = data.x, data.y, reachable(sigma), Smoothing(sigma=sigma)
    print(f"sigma {sigma:g}, {len(x)} images, {torch.get_num_threads()} threads")
    for radius in set(RADII) - set(radii):
        print(f"  radius {radius:g} is {radius / sigma:g} sigma: out of reach of {N:,} samples, for every procedure")
    rate = throughput(model, x, y, sigma, rounds)
    ours = {radius: mt.certify(model, x, y, method, radius=radius, store=STORE) for radius in radii}
    curve = mt.certify(model, x, y, method.model_copy(update={"radii": tuple(radii)}), store=STORE)
    sure = torch.stack([outcome(curve, method, radius) for radius in radii])
    for n in (N // 10, N):  # most are settled by a tenth
        if len(rows := sure.isnan().any(0).nonzero().flatten()):
            published = Smoothing(sigma=sigma, n=n, test="fixed", selection=N0)
            more = mt.certify(model, x[rows], y[rows], published, indices=rows, store=STORE)
            outcomes = [more.certified(radius).double() if n == N else outcome(more, method, radius) for radius in radii]
            sure[:, rows] = torch.stack(outcomes)
    cost = N + N0
    print(f"  published: {cost:,} samples and {cost / rate:.1f} s an image; run in full on {len(rows)} of them")
    print(f"  {'':<14}{'published %':>12}{'ours %':>8}{'points':>8}{'samples/image':>15}{'fewer':>8}{'s/image':>9}")
    for place, radius in enumerate(radii):
        show(f"radius {radius:g}", sure[place], ours[radius], radius, rate)
    for place, radius in enumerate(radii):
        show(f"curve at {radius:g}", sure[place], curve, radius, rate)
    whole = mt.certify(model, x[:10], y[:10], method, store=STORE)
    mean = float(whole.samples.double().mean())
    print(f"  default grid (quarters of sigma to 3 sigma), 10 images: {mean:,.0f} samples/image, {cost / mean:.1f} x fewer")
    seconds = art_seconds(model, x[0], sigma, pass_size(model, x))
    if seconds is not None:
        print(f"  ART: {cost:,} samples and {seconds:.1f} s for one image; it certifies what the published procedure does")


def outcome(curve: mt.certification.Certificates, method: Smoothing, radius: float) -> Tensor:
    """(n,) 1 where the published procedure certifies the right class, 0 where it doesn't, NaN where neither is certain."""
    q = method.miss_rate(radius, (1,))
    most = fixed_design(q, ALPHA, N).reject[0]
    found = []
    columns = (curve.agreement, curve.samples, curve.correct)
    for share, n, right in zip(*(column.tolist() for column in columns), strict=True):  # n counts the guess too: 1 in many
        misses = math.ceil((1.0 - share) * n)
        high, low = upper(misses, n, 1e-4), 1.0 - upper(n - misses, n, 1e-4)
        if binom.cdf(most, N, high) > 1.0 - 1e-6:
            found.append(float(right))
        else:
            found.append(0.0 if binom.cdf(most, N, low) < 1e-6 else float("nan"))
    return torch.tensor(found, dtype=torch.float64)


def show(name: str, theirs: Tensor, found: mt.certification.Certificates, radius: float, rate: float) -> None:
    mean, mine = float(found.samples.double().mean()), 100 * float(found.certified(radius).double().mean())
    published = 100 * float(theirs.mean())
    figures = f"{published:>12.2f}{mine:>8.2f}{mine - published:>+8.2f}{mean:>15,.0f}{(N + N0) / mean:>8.1f}{mean / rate:>9.3f}"
    print(f"  {name:<14}{figures}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sigma", type=float, nargs="+", default=[0.25, 0.5])
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for sigma in options.sigma:
        compare(sigma, options.images, options.rounds)


if __name__ == "__main__":
    main()
