"""The nearest adversarial found so far for each sample of a batch: what a minimum-norm attack returns."""

import torch
from torch import Tensor

from martensite.attacks.linear import grain, length, rounding, step_to_plane
from martensite.attacks.losses import ascend
from martensite.attacks.oracle import Oracle
from martensite.threat import ThreatModel
from martensite.threat.ball import columns

INSIDE = 0.1  # share of the lead that a step towards the boundary aims to keep, so that it lands on the right side


class Nearest:
    """Keeps, sample by sample, the adversarial with the least distance.

    Args:
        oracle: The model; should its budget end the search, what was found so far is what it returns.
        x: (n, *d) clean inputs.
        y: (n,) the class to leave, or to reach.
        threat: Norm, box and goal; its eps plays no part.
        confidence: By how much the goal has to be reached.

    Attributes:
        point: (n, *d) the nearest adversarial, or x itself.
        distance: (n,) its distance, infinite where there is none.
    """

    def __init__(self, oracle: Oracle, x: Tensor, y: Tensor, threat: ThreatModel, confidence: float = 0.0) -> None:
        self._oracle, self._x, self._y, self._threat, self.confidence = oracle, x, y, threat, confidence
        self.point = oracle.found = x.clone()
        self.distance = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        self._leads, self._clean_leads = torch.zeros_like(self.distance), torch.full_like(self.distance, torch.nan)

    @property
    def found(self) -> Tensor:
        """(n,) bool: there is an adversarial."""
        return self.distance.isfinite()

    def clean(self) -> Tensor:
        """(n, K) logits of the clean inputs, which `approach` then needn't ask for."""
        logits = self._oracle.logits(self._x)
        self._clean_leads = self.lead(logits).to(self._leads.dtype)
        return logits

    def lead(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """(m,) by how much the goal is reached, less what rounding may take away: positive for an adversarial."""
        y = self._y if rows is None else self._y[rows]
        return ascend("margin", y, self._threat.goal)(logits) - self.confidence - rounding(logits)

    def note(self, point: Tensor, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Take what is adversarial and nearer.

        Args:
            point: (m, *d) inside the box.
            logits: (m, K) at ``point``.
            rows: (m,) which samples these are; None: all.

        Returns:
            (m,) bool: the points that are adversarial.
        """
        lead = self.lead(logits, rows).to(self._leads.dtype)
        adversarial = lead > 0
        everyone = torch.arange(len(self._x), device=point.device) if rows is None else rows
        chosen = adversarial.nonzero().squeeze(1)
        places = everyone[chosen]
        point = self._oracle.admissible(point[chosen], places)
        distance = length(point - self._x[places], self._threat.norm)
        nearer = distance < self.distance[places]
        self.point[places[nearer]], self.distance[places[nearer]] = point[nearer], distance[nearer]
        self._leads[places[nearer]] = lead[chosen[nearer]]
        return adversarial

    def take(self, other: "Nearest", part: slice) -> None:
        """Take what the rows ``part`` of another search found for the same samples, where that is nearer."""
        nearer = other.distance[part] < self.distance
        self.point[nearer], self.distance[nearer] = other.point[part][nearer], other.distance[part][nearer]
        self._leads[nearer] = other._leads[part][nearer]

    def approach(self, passes: int, chosen: Tensor | None = None) -> None:
        """Draw every adversarial towards its clean input, up to the decision boundary between them.

        Croce and Hein 2020, arXiv:1907.02044, sec. 3.1 ("final search"): a secant step on the segment, again and again. Each aims
        at a tenth of the lead instead of zero, or rounding would decide on which side of the boundary it ends.

        Args:
            passes: Forward passes on the segment, besides one at the clean input, once; 0: nothing is changed.
            chosen: (n,) bool: whose; None: everybody's.
        """
        rows = (self.found if chosen is None else self.found & chosen).nonzero().squeeze(1)
        if not passes or not len(rows):
            return
        if len(unknown := rows[self._clean_leads[rows].isnan()]):
            leads = self.lead(self._oracle.logits(self._x[unknown], unknown), unknown)
            self._clean_leads[unknown] = leads.to(self._leads.dtype)
        x, outer = self._x[rows], self.point[rows]
        low, high = torch.zeros_like(self.distance[rows]), torch.ones_like(self.distance[rows])
        low_lead, high_lead = self._clean_leads[rows], self._leads[rows]
        for _ in range(passes):
            aim = INSIDE * high_lead
            weight = high - (high - low) * ((high_lead - aim) / (high_lead - low_lead)).clamp(0.0, 1.0).nan_to_num(0.0)
            point = (x + columns(weight, x) * (outer - x)).clamp_(*self._threat.box)
            logits = self._oracle.logits(point, rows)
            lead, inside = self.lead(logits, rows).to(high_lead.dtype), self.note(point, logits, rows)
            high, high_lead = torch.where(inside, weight, high), torch.where(inside, lead, high_lead)
            low, low_lead = torch.where(inside, low, weight), torch.where(inside, low_lead, lead)

    def turn(self, passes: int, chosen: Tensor | None = None) -> None:
        """Turn every adversarial towards the point of the boundary's tangent plane that is nearest to the clean input.

        Croce and Hein 2020, arXiv:1907.02044, eq. 6: where a search went astray along the boundary, the shortest way to the plane
        is shorter than the way it found. A curved boundary may not let it go all the way: then half of it is tried, and so on.
        For L0, how many of the features that weigh most have to move is bisected.

        Args:
            passes: Forward passes at most; 0: nothing is changed.
            chosen: (n,) bool: whose; None: everybody's.
        """
        rows = (self.found if chosen is None else self.found & chosen).nonzero().squeeze(1)
        if not passes or not len(rows):
            return
        x, point = self._x[rows], self.point[rows]
        loss = ascend("margin", self._y[rows], self._threat.goal)
        logits, w = self._oracle.gradient(point, loss, rows)
        if self._threat.norm == "l0":
            self._fewest(x, w, rows, passes)
            return
        lead = (loss(logits) - self.confidence - 2.0 * rounding(logits)).to(x.dtype) - grain(w, self._threat.box)
        height = (w * (point - x)).flatten(1).sum(1) - lead
        way = x + step_to_plane(x, w, height, self._threat.norm, self._threat.box) - point
        for _ in range(passes):
            trial = (point + way).clamp_(*self._threat.box)
            short = ~self.note(trial, self._oracle.logits(trial, rows), rows)
            rows, point, way = rows[short], point[short], way[short] / 2.0
            if not len(rows):
                break

    def _fewest(self, x: Tensor, w: Tensor, rows: Tensor, passes: int) -> None:
        """Move the features (m, *d) that gain most along w to the faces of the box, and bisect how many of them have to go."""
        face = torch.where(w > 0, self._threat.box[1], self._threat.box[0])
        gain = (w * (face - x)).flatten(1)
        rank = gain.argsort(dim=1, descending=True, stable=True).argsort(dim=1).view_as(x)
        low, high = torch.zeros_like(rows), self.distance[rows].long()
        for _ in range(passes):
            open_ = (high - low > 1).nonzero().squeeze(1)
            if not len(open_):
                break
            middle = (low[open_] + high[open_]) // 2
            trial = torch.where(rank[open_] < middle.view(-1, *[1] * (x.dim() - 1)), face[open_], x[open_])
            hit = self.note(trial, self._oracle.logits(trial, rows[open_]), rows[open_])
            low[open_], high[open_] = torch.where(hit, low[open_], middle), torch.where(hit, middle, high[open_])
