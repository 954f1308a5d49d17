"""Ensembles: several networks that answer together, as one architecture, so that a bundle rebuilds them.

Kariyappa and Qureshi 2019, "Improving adversarial robustness of ensembles with diversity training", arXiv:1901.09981, sec. 2, for
what diversity is about. Members that share their weaknesses fall together: He et al. 2017, arXiv:1706.04701.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn.functional import one_hot

from martensite.core.config import Config
from martensite.core.errors import ConfigError, ModelError
from martensite.core.registry import member_of
from martensite.defenses.features import feature_network
from martensite.defenses.transform import replaced
from martensite.defenses.voting import shares
from martensite.models import ARCHITECTURES, MLP, Architecture, Classifier, describe

Combine = Literal["logits", "probabilities", "vote"]


class Member(Config):
    """One network of an ensemble.

    Args:
        architecture: A registered architecture.
        mean: Subtracted from its inputs, one value or one a channel; None: nothing.
        std: Divided by, likewise.
    """

    architecture: Annotated[Architecture, member_of(ARCHITECTURES)]
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


@ARCHITECTURES.register
class Ensemble(Architecture):
    """Networks side by side.

    Args:
        members: At least two; by default two small networks of linear layers.
        combine: ``"logits"``: their mean. ``"probabilities"``: the logarithm of the mean of their softmax. ``"vote"``: each has
            one vote; its gradient is that of ``"probabilities"``.
    """

    kind: Literal["ensemble"] = "ensemble"
    members: tuple[Member, ...] = (Member(architecture=MLP()), Member(architecture=MLP()))
    combine: Combine = "probabilities"

    @model_validator(mode="after")
    def _several(self) -> Self:
        if len(self.members) < 2:
            raise ConfigError(f"an ensemble has {len(self.members)} members", "it has at least two", "give more models")
        return self

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """See `Architecture.module`."""
        return Together([(one, one.architecture.module(shape, classes)) for one in self.members], self.combine)


class Together(nn.Module):
    """The network of an `Ensemble`; see there.

    Args:
        members: Each with its network.
        combine: How they answer together.
    """

    def __init__(self, members: Sequence[tuple[Member, nn.Module]], combine: Combine) -> None:
        super().__init__()
        self.combine = combine
        self.members = nn.ModuleList(Normalised(net, member.mean, member.std) for member, net in members)
        # What the weights don't say, for the model's digest.
        self.conventions: dict[str, Any] = {"combine": combine, "members": [[m.mean, m.std] for m, _ in members]}

    def forward(self, x: Tensor) -> Tensor:
        """(n, K) logits."""
        each = torch.stack([member(x) for member in self.members])
        if self.combine == "logits":
            return each.mean(0)
        mean = each.log_softmax(2).logsumexp(0) - float(torch.tensor(len(each)).log())
        if self.combine == "probabilities":
            return mean
        with torch.no_grad():
            votes = one_hot(each.argmax(2), each.shape[2]).sum(0).to(mean)
        return replaced(shares(votes, mean.detach()), mean)  # ties go to the class with the larger mean probability

    def features(self, x: Tensor) -> Tensor:
        """(n, f) the members' features side by side; see `Penultimate`."""
        return torch.cat([feature_network(one.net)(one.normalise(x)).flatten(1) for one in self.members], 1)  # type: ignore[operator, arg-type]

    def extra_repr(self) -> str:
        """What the tree of modules doesn't show."""
        return f"combine={self.combine!r}"


class Normalised(nn.Module):
    """A network with the normalisation that it was trained with."""

    def __init__(self, net: nn.Module, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> None:
        super().__init__()
        self.net, self.mean, self.std = net, mean or (0.0,), std or (1.0,)

    def forward(self, x: Tensor) -> Tensor:
        """(n, K) logits."""
        return self.net(self.normalise(x))  # type: ignore[no-any-return]

    def normalise(self, x: Tensor) -> Tensor:
        """(x - mean) / std, by channel (axis 1)."""
        by_channel = (1, -1, *[1] * (x.dim() - 2))
        mean, std = (torch.tensor(values, dtype=x.dtype, device=x.device).view(by_channel) for values in (self.mean, self.std))
        return (x - mean) / std

    def extra_repr(self) -> str:
        """What the tree of modules doesn't show."""
        return f"mean={self.mean}, std={self.std}"


def join(models: Sequence[Classifier], combine: Combine = "probabilities") -> Classifier:
    """One classifier that answers for several; their weights are shared.

    Args:
        models: At least two, of the same classes, box, shape and type.
        combine: See `Ensemble`.

    Raises:
        ConfigError: fewer than two.
        ModelError: they differ in what they are for, or one has no description.
    """
    if len(models) < 2:
        raise ConfigError(f"{len(models)} models were given", "an ensemble has at least two", "give more models")
    first = models[0]
    members = []
    for place, model in enumerate(models):
        mine, theirs = ((m.classes, tuple(m.box), m.shape, m.dtype, m.device) for m in (model, first))
        if mine != theirs:
            raise ModelError(
                f"model {place} has classes, box, shape, type and device {mine}",
                f"the first has {theirs}, and all must mean the same",
                "give models for the same inputs and classes",
            )
        architecture = None if type(model) is not Classifier else model.architecture or describe(model.net)
        if architecture is None:
            raise ModelError(
                f"model {place} has no description",
                "an ensemble is rebuilt from its members' architectures",
                "use a registered one",
            )
        mean, std = ((tuple(v.tolist()) if model.normalises else None) for v in (model.mean, model.std))
        members.append(Member(architecture=architecture, mean=mean, std=std))
    plan = Ensemble(members=tuple(members), combine=combine)
    net = Together([(member, model.net) for member, model in zip(members, models, strict=True)], combine)
    return Classifier(net, first.classes, box=first.box, shape=first.shape, architecture=plan)


def members_of(model: Classifier) -> tuple[Classifier, ...]:
    """The members of an ensemble as classifiers of their own; none of another model."""
    net = model.net
    if not isinstance(net, Together):
        return ()
    each = [one for one in net.members if isinstance(one, Normalised)]
    return tuple(Classifier(one.net, model.classes, one.mean, one.std, model.box, model.shape) for one in each)
