"""De-randomised smoothing: every band or block of an image votes, and a patch can reach only so many votes.

Levine and Feizi 2020, "(De)randomized smoothing for certifiable defense against patch attacks", NeurIPS, arXiv:2002.10733,
Theorem 1. The network sees one band of s columns (or one s x s block) at a time, the rest blank, at every position, wrapping
around the edges. A square patch of side m touches m + s - 1 bands, or (m + s - 1)^2 blocks: Delta. Each of them can at worst turn
from the leading class to the runner-up, so that class c stays first if n_c >= n_c' + 2 Delta for all rivals c', with one vote
more where c' wins ties, as the smaller index does. Nothing is random: the certificate is certain.
"""

import time
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from martensite.certification.certifier import ABSTAIN, CERTIFIERS, CertificateRecord, Certificates, Certifier, Job
from martensite.core.errors import ConfigError, DataError
from martensite.core.events import Event
from martensite.models import Classifier, check_logits
from martensite.models.digest import model_digest


@CERTIFIERS.register
class PatchSmoothing(Certifier):
    """De-randomised smoothing against square patches. The model must be one that was trained on such parts of images.

    Args:
        size: s: columns of a band, or the side of a block.
        shape: ``"columns"`` or ``"blocks"``.
        fill: What a blank pixel's value is.
    """

    kind: Literal["patch_smoothing"] = "patch_smoothing"
    size: PositiveInt = 4
    shape: Literal["columns", "blocks"] = "columns"
    fill: float = 0.0

    def certify(self, model: Classifier, x: Tensor, y: Tensor, job: Job) -> Certificates:
        """Count all votes of each image.

        Raises:
            DataError: inputs that aren't images (C, H, W).
            ConfigError: a part larger than the image.
        """
        started = time.perf_counter()
        if x.dim() != 4:
            raise DataError(f"inputs have shape {tuple(x.shape[1:])}", "patches are of images", "give (n, C, H, W)")
        if self.size > min(x.shape[2:]):
            raise ConfigError(f"size is {self.size}", f"images are {x.shape[2]} x {x.shape[3]}", "give a smaller part")
        radii, classes, shares = [], [], []
        for row, image in enumerate(x):
            votes = self.votes(model, image, job.batch_size)
            leader = int(votes.argmax())  # the smaller index at a tie
            radius = float(self.side(votes, leader, (x.shape[2], x.shape[3])))
            if job.radius is not None:
                radius = job.radius if radius >= job.radius else 0.0
            radii.append(radius)
            classes.append(leader if radius > 0 else ABSTAIN)
            shares.append(int(votes[leader]) / int(votes.sum()))
            right = sum(found == int(label) for found, label in zip(classes, y, strict=False))
            job.listener(Event("certify", row + 1, len(x), "sample", {"certified": right / (row + 1)}))
        record = CertificateRecord(
            method=self.model_dump(mode="json"),
            seed=job.seed,
            radius=job.radius,
            radii=(),
            design=None,
            spent=0.0,
            dtype=str(model.dtype).removeprefix("torch."),
            model_digest=model_digest(model),
        )
        radius_, prediction = torch.tensor(radii, dtype=torch.float64), torch.tensor(classes)
        abstained, parts = prediction == ABSTAIN, self._positions(x.shape[2], x.shape[3])
        return Certificates(
            radius_,
            prediction,
            abstained,
            torch.full((len(x),), parts),
            (prediction == y) & ~abstained,
            "patch",
            time.perf_counter() - started,
            torch.tensor(shares, dtype=torch.float64),
            record,
        )

    def votes(self, model: Classifier, image: Tensor, batch_size: int) -> Tensor:
        """(K,) how many parts of an image (C, H, W) each class wins."""
        counts = torch.zeros(model.classes, dtype=torch.int64)
        masks = self._masks(image.shape[1], image.shape[2]).to(image.device)
        for part in torch.split(masks, batch_size):
            shown = torch.where(part[:, None], image, torch.full_like(image, self.fill))
            winners = check_logits(model(shown), len(shown), model.classes).argmax(1)
            counts += winners.bincount(minlength=model.classes).cpu()
        return counts

    def side(self, votes: Tensor, leader: int, image: tuple[int, int]) -> int:
        """The longest side of a square patch that can't take the lead from the leader; 0 for none."""
        rivals = [int(votes[c]) + int(c < leader) for c in range(len(votes)) if c != leader]
        lead, side = int(votes[leader]) - max(rivals), 0
        while side < min(image) and lead >= 2 * self._touched(side + 1, *image):
            side += 1
        return side

    def _touched(self, side: int, height: int, width: int) -> int:
        """Delta: positions of the part that a patch of this side can touch."""
        along = min(side + self.size - 1, width)
        return along if self.shape == "columns" else along * min(side + self.size - 1, height)

    def _positions(self, height: int, width: int) -> int:
        return width if self.shape == "columns" else width * height

    def _masks(self, height: int, width: int) -> Tensor:
        """(positions, H, W) bool: what is kept."""
        columns = (torch.arange(width)[None] - torch.arange(width)[:, None]) % width < self.size
        if self.shape == "columns":
            return columns[:, None, :].expand(width, height, width)
        rows = (torch.arange(height)[None] - torch.arange(height)[:, None]) % height < self.size
        return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(-1, height, width)
