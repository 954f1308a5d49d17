"""Properties of networks: proved, refuted by a counterexample, or left open.

A property (see `vnnlib`) is a list of cases, kinds of counterexample: an input of a box whose outputs satisfy a y <= b. A case
is impossible on a box if some row's a y stays above b, by linear bounds. A box on which bounds leave it open is searched by
projected gradient steps, and then halved along the input that moves the outputs most (Wang et al. 2018, "Formal security
analysis of neural networks using symbolic intervals", arXiv:1804.10829, sec. 4.3): branch and bound on the input, of use where
inputs are few.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from martensite.certification.bounds.alpha import optimise
from martensite.certification.bounds.concretise import Region
from martensite.certification.bounds.graph import Graph
from martensite.certification.bounds.linear import Bounds
from martensite.certification.bounds.onnx_graph import read_onnx
from martensite.certification.bounds.rows import Rows
from martensite.certification.vnnlib import Case, read_vnnlib
from martensite.core.errors import ArtifactError, DataError
from martensite.core.events import Event, Listener, silent
from martensite.core.rng import generator

STARTS, STEPS = 16, 30  # of the search for a counterexample in a box
ALPHA_STEPS = 20


@dataclass(frozen=True, eq=False)
class PropertyResult:
    """What was found out about a property.

    Attributes:
        verdict: ``"verified"``: no counterexample exists; ``"falsified"``: one was found, and ONNX Runtime gives it outputs
            that fit; ``"unknown"``: neither, within the boxes allowed.
        counterexample: (inputs,) float32, flat; None unless falsified.
        outputs: (outputs,) float32, ONNX Runtime's at the counterexample.
        boxes: Boxes that were bounded.
    """

    verdict: Literal["verified", "falsified", "unknown"]
    counterexample: Tensor | None
    outputs: Tensor | None
    boxes: int


def verify_property(
    network: Path, vnnlib: Path, *, boxes: int = 1000, seed: int = 0, listener: Listener = silent
) -> PropertyResult:
    """Verify or refute a property of a network.

    Args:
        network: An ONNX file.
        vnnlib: The property.
        boxes: Most boxes to bound before giving up.
        seed: Of the search for counterexamples.
        listener: Gets an event a box.

    Raises:
        ArtifactError: the network's file can't be read.
        ModelError: an operator that bounds don't know.
        DataError: the property can't be read, or speaks of other numbers of inputs or outputs than the network has.
    """
    graph, cases = read_onnx(network), read_vnnlib(vnnlib)
    inputs, outputs = int(torch.Size(graph.nodes[0].shape).numel()), graph.classes
    if (found := (len(cases[0].low), cases[0].a.shape[1])) != (inputs, outputs):
        raise DataError(
            f"{vnnlib} speaks of {found[0]} inputs and {found[1]} outputs",
            f"{network} has {inputs} and {outputs}",
            "give the property that belongs to the network",
        )
    judge, rng, spent, open_ = _Runtime(network, graph.nodes[0].shape), generator(seed, "property"), 0, False
    for place, case in enumerate(cases):
        todo = [(case.low, case.high)]
        while todo:
            if spent >= boxes:
                open_ = True
                break
            low, high = todo.pop()
            spent += 1
            listener(Event("verify", place, len(cases), "case", {"boxes": spent}))
            if excluded(graph, case, low, high):
                continue
            point, slopes = _search(graph, case, low, high, rng)
            if (answer := judge.counterexample(point, case)) is not None:
                return PropertyResult("falsified", answer[0], answer[1], spent)
            todo += _halves(low, high, slopes)
    return PropertyResult("unknown" if open_ else "verified", None, None, spent)


def excluded(graph: Graph, case: Case, low: Tensor, high: Tensor) -> bool:
    """Whether bounds prove that no input of a box fits a case."""
    box = [end.view(1, *graph.nodes[0].shape) for end in (low, high)]
    region = Region((box[0] + box[1]) / 2, box[0], box[1], "linf", torch.zeros(1, dtype=torch.float64))
    rows = Rows(case.a, torch.zeros(len(case.a), dtype=torch.int64))
    if not len(case.a):
        return False
    with torch.no_grad():
        bounds = Bounds.by_intervals(graph, region)
        if bool((bounds.intervals_least(rows) > case.b).any()):
            return True
        bounds.relax("backward")
        if bool((bounds.least(rows) > case.b).any()):
            return True
    return bool((optimise(bounds, rows, ALPHA_STEPS) > case.b).any())


def _search(graph: Graph, case: Case, low: Tensor, high: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """The point of a box that comes nearest to the case, and the size of each input's slope there."""
    share = torch.rand(STARTS, len(low), generator=rng, dtype=torch.float64)
    share[0] = 0.5
    point = low + share * (high - low)
    best, distance, slopes = point[0], torch.inf, torch.ones_like(low)
    for step in range(STEPS):
        point = point.detach().requires_grad_()
        with torch.enable_grad():
            missed = (
                (graph.value(point.view(-1, *graph.nodes[0].shape)) @ case.a.T - case.b).amax(1)
                if len(case.a)
                else point.sum(1) * 0
            )
            (gradient,) = torch.autograd.grad(missed.sum(), point)
        missed = missed.detach()
        row = int(missed.argmin())
        if float(missed[row]) < distance:
            best, distance, slopes = point[row].detach(), float(missed[row]), gradient[row].abs()
        if distance <= 0.0 and step:
            break
        length = 0.5 * 0.9**step * (high - low)
        point = (point.detach() - length * gradient.sign()).clamp(low, high)
    return best, slopes


def _halves(low: Tensor, high: Tensor, slopes: Tensor) -> list[tuple[Tensor, Tensor]]:
    """A box in two along the input whose range moves the outputs most; nothing where it is a point already."""
    width = high - low
    axis = int((width * (slopes + 1e-9 * slopes.max() + 1e-30)).argmax())
    middle = low[axis] + width[axis] / 2
    first, second = high.clone(), low.clone()
    first[axis] = second[axis] = middle
    return [(low, first), (second, high)]


class _Runtime:
    """ONNX Runtime, which has the last word on a counterexample."""

    def __init__(self, network: Path, shape: tuple[int, ...]) -> None:
        try:
            import onnxruntime
        except ImportError:
            remedy = "pip install 'martensite[onnx]'"
            raise ArtifactError("onnxruntime isn't installed", "counterexamples are checked by it", remedy) from None
        self._session = onnxruntime.InferenceSession(str(network), providers=["CPUExecutionProvider"])
        self._name, self._shape = self._session.get_inputs()[0].name, shape

    def counterexample(self, point: Tensor, case: Case) -> tuple[Tensor, Tensor] | None:
        """The point in float32, inside the box, and its outputs; None if they don't fit the case."""
        x = point.float()
        x = torch.where(x.double() < case.low, torch.nextafter(x, torch.full_like(x, torch.inf)), x)
        x = torch.where(x.double() > case.high, torch.nextafter(x, torch.full_like(x, -torch.inf)), x)
        if not bool(((x.double() >= case.low) & (x.double() <= case.high)).all()):
            return None  # the box holds no float32 there
        outputs = self._session.run(None, {self._name: x.view(1, *self._shape).numpy()})[0]
        y = torch.from_numpy(outputs).flatten()
        return (x, y) if bool((case.a @ y.double() <= case.b).all()) else None
