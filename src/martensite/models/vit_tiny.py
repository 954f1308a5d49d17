"""ViTTiny: a small vision transformer.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", arXiv:2010.11929, eq. 1-4, in the Ti width of Touvron et al.
2021, "Training data-efficient image transformers", arXiv:2012.12877, table 1. The patches' mean is classified instead
of a class token, after Beyer, Zhai and Kolesnikov 2022, "Better plain ViT baselines for ImageNet-1k", arXiv:2205.01580.
"""

from typing import Literal, Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from martensite.core.errors import ConfigError, ModelError
from martensite.models.architecture import ARCHITECTURES, Architecture
from martensite.models.attention import AttentionBlock
from martensite.models.shapes import image_shape

SMALLEST = 2
PATCHES = (4, 2, 1)


@ARCHITECTURES.register
class ViTTiny(Architecture):
    """Square patches, learned positions, pre-norm attention blocks, the mean of the patches, a linear layer.

    Args:
        patch: Side of a patch; None: the largest of 4, 2 and 1 that divides both sides of the image.
        dim: Width of a token, a multiple of ``heads``.
        depth: Number of blocks.
        heads: Attention heads of a block.

    Raises:
        ConfigError: ``heads`` doesn't divide ``dim``.
    """

    kind: Literal["vit_tiny"] = "vit_tiny"
    patch: PositiveInt | None = None
    dim: PositiveInt = 192
    depth: PositiveInt = 6
    heads: PositiveInt = 3

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dim % self.heads:
            raise ConfigError(
                f"ViTTiny.dim is {self.dim} with {self.heads} heads", "heads must divide dim", "e.g. dim=192, heads=3"
            )
        return self

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """See `Architecture.module`; images (C, H, W) whose sides are multiples of the patch."""
        channels, height, width = image_shape("vit_tiny", shape, SMALLEST)
        patch = self.patch or next(side for side in PATCHES if height % side == 0 and width % side == 0)
        if height % patch or width % patch:
            raise ModelError(
                f"vit_tiny was given images of {height} x {width} with patch={patch}",
                "the patch must divide both sides",
                "give another patch, or none: then one that fits is taken",
            )
        tokens = (height // patch) * (width // patch)
        return _Transformer(channels, patch, tokens, classes, self)


class _Transformer(nn.Module):
    def __init__(self, channels: int, patch: int, tokens: int, classes: int, plan: ViTTiny) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, plan.dim, patch, stride=patch)
        self.positions = nn.Parameter(torch.empty(1, tokens, plan.dim))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(*[AttentionBlock(plan.dim, plan.heads) for _ in range(plan.depth)])
        self.norm = nn.LayerNorm(plan.dim)
        self.head = nn.Linear(plan.dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.norm(self.blocks(tokens)).mean(1))  # type: ignore[no-any-return]
