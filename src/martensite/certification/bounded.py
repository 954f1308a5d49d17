"""Certification by bounds: what interval arithmetic and linear bounds share.

Over the ball of a threat model, cut by its box, the margins between the predicted class and all others are bounded from below. If
all bounds are positive, no input of the ball is classified otherwise: with certainty, by the network itself, in one pass.
"""

import time

import torch
from pydantic import PositiveFloat
from torch import Tensor

from martensite.certification.bounds.concretise import Region
from martensite.certification.bounds.graph import Graph
from martensite.certification.bounds.lower import check_copy, lower
from martensite.certification.certifier import ABSTAIN, CertificateRecord, Certificates, Certifier, Job
from martensite.certification.journal import Journal
from martensite.core.errors import ConfigError, ThreatError
from martensite.core.events import Event
from martensite.core.files import sha256
from martensite.data.checks import check_inputs
from martensite.models import Classifier
from martensite.models.digest import model_digest
from martensite.threat import ThreatModel

BATCH = 32  # samples bounded together: a kill loses as many
FOUND = ("margin", "radius", "passes")


class Bounded(Certifier):
    """Base of the methods that bound margins.

    Args:
        tolerance: Search for the largest eps that can be certified for each sample, to this precision in input units; None: only
            that of the threat model.
    """

    tolerance: PositiveFloat | None = None

    def margins(self, graph: Graph, region: Region, labels: Tensor) -> tuple[Tensor, Tensor]:
        """(B,) float64 lower bounds on the least margin of the labels, and (B,) int64 how many bounds were computed for each."""
        raise NotImplementedError(f"{type(self).__name__} must define margins()")

    def certify(self, model: Classifier, x: Tensor, y: Tensor, job: Job) -> Certificates:
        """Bound the margins of each input's prediction.

        Raises:
            ConfigError: no threat model, or a radius beside it.
            ThreatError: a norm that has no bounds.
            ModelError: a layer that has none.
        """
        threat, started = self._threat(job), time.perf_counter()
        check_inputs(x, threat.box)
        threat.check_shape(x)
        with torch.inference_mode(False), torch.no_grad():  # slopes are found by gradients, which inference mode can't give
            x = x.clone()
            graph = lower(model, tuple(x.shape[1:]))
            prediction = torch.cat([check_copy(graph, model, part).argmax(1) for part in torch.split(x, BATCH)])
            found = self._all(graph, x, y, prediction, threat, job, self._title(model, x, threat, job))
        margin, radius, passes = found.unbind(1)
        record = CertificateRecord(
            method=self.model_dump(mode="json"),
            seed=job.seed,
            radius=None if self.tolerance is not None else threat.eps,
            radii=() if self.tolerance is not None else (threat.eps,),
            design=None,
            spent=0.0,
            dtype="float64",
            model_digest=model_digest(model),
            threat=threat,
        )
        prediction, abstained = prediction.cpu(), radius == 0
        return Certificates(
            radius,
            torch.where(abstained, ABSTAIN, prediction),
            abstained,
            passes.long(),
            (prediction == y) & ~abstained,
            threat.norm,
            time.perf_counter() - started,
            record=record,
            margins=margin,
        )

    def _threat(self, job: Job) -> ThreatModel:
        if job.threat is None:
            raise ConfigError("no threat model was given", "bounds certify one", "give threat=ThreatModel(norm=..., eps=...)")
        if job.radius is not None and job.radius != job.threat.eps:
            raise ConfigError(
                f"radius is {job.radius:g} and the threat model's eps {job.threat.eps:g}",
                "bounds certify the threat model",
                "leave radius out; tolerance= finds the largest radius of each sample",
            )
        if job.threat.norm == "l0":
            raise ThreatError("the threat model is l0", "bounds are for linf, l2 and l1", "certify l0 by ablation")
        return job.threat

    def _all(
        self, graph: Graph, x: Tensor, y: Tensor, labels: Tensor, threat: ThreatModel, job: Job, title: dict[str, object]
    ) -> Tensor:
        """(n, 3) float64 margin, radius and passes of each sample, some from the store; an event a batch."""
        found, seen, right = torch.zeros(len(x), 3, dtype=torch.float64), 0, 0
        journal = None if job.store is None else Journal(job.store, title)
        try:
            kept = {} if journal is None else journal.findings()
            for rows in torch.split(torch.arange(len(x)), BATCH):
                new = [row for row in rows.tolist() if row not in kept]
                if new:  # the whole batch, so that its rounding is that of a run that wasn't killed
                    found[rows] = self._batch(graph, x[rows], labels[rows], threat).cpu()
                else:
                    found[rows] = torch.tensor(
                        [[kept[row][name] for name in FOUND] for row in rows.tolist()], dtype=torch.float64
                    )
                if journal is not None:
                    for row in new:
                        journal.keep(row, dict(zip(FOUND, found[row].tolist(), strict=True)))
                seen, right = seen + len(rows), right + int(((found[rows, 1] > 0) & (labels[rows].cpu() == y[rows])).sum())
                job.listener(Event("certify", seen, len(x), "sample", {"certified": right / seen}))
        finally:
            if journal is not None:
                journal.close()
        return found

    def _batch(self, graph: Graph, x: Tensor, labels: Tensor, threat: ThreatModel) -> Tensor:
        eps = torch.full((len(x),), threat.eps, dtype=torch.float64, device=x.device)
        margin, passes = self.margins(graph, Region.of(x, threat, eps), labels)
        radius = torch.where(margin > 0, eps, 0.0)
        if self.tolerance is not None:
            radius, passes = self._largest(graph, x, labels, threat, radius, passes)
        return torch.stack([margin, radius, passes.double()], 1)

    def _largest(
        self, graph: Graph, x: Tensor, labels: Tensor, threat: ThreatModel, low: Tensor, passes: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The largest radius that is certified, by doubling and then halving, for all samples at once."""
        limit, tolerance = threat.ball.diameter(x[0].numel(), threat.box), self.tolerance or 0.0
        high = torch.where(low > 0, torch.inf, torch.full_like(low, threat.eps))
        passes = passes.clone()
        while len(todo := ((high - low > tolerance) & (low < limit)).nonzero().squeeze(1)):
            between = (low[todo] + high[todo]) / 2
            eps = torch.where(high[todo].isinf(), (2.0 * low[todo]).clamp_max(limit), between)
            margin, spent = self.margins(graph, Region.of(x[todo], threat, eps), labels[todo])
            low[todo] = torch.where(margin > 0, eps, low[todo])
            high[todo] = torch.where(margin > 0, high[todo], eps)
            passes[todo] += spent
        return low, passes

    def _title(self, model: Classifier, x: Tensor, threat: ThreatModel, job: Job) -> dict[str, object]:
        data = b"".join(part.cpu().contiguous().numpy().tobytes() for part in (x, job.indices.to(torch.int64)))
        return {
            "method": self.model_dump(mode="json"),
            "threat": threat.model_dump(mode="json"),
            "model": model_digest(model),
            "layers": str(model.net),
            "data": sha256(data),
        }
