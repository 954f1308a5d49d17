"""TextTransformer: a small transformer over a sequence of word vectors.

Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762, the encoder, with learned positions. The words' mean is
classified. It takes vectors, not words, because that is where a gradient can reach a text: `martensite.data.text` embeds.
"""

from typing import Literal, Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from martensite.core.errors import ConfigError, ModelError
from martensite.models.architecture import ARCHITECTURES, Architecture
from martensite.models.attention import AttentionBlock


@ARCHITECTURES.register
class TextTransformer(Architecture):
    """A linear layer to the width of a token, learned positions, attention blocks, the mean over the sequence, a linear layer.

    Args:
        dim: Width of a token, a multiple of ``heads``.
        depth: Number of blocks.
        heads: Attention heads of a block.

    Raises:
        ConfigError: ``heads`` doesn't divide ``dim``.
    """

    kind: Literal["text_transformer"] = "text_transformer"
    dim: PositiveInt = 64
    depth: PositiveInt = 2
    heads: PositiveInt = 4

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.dim % self.heads:
            raise ConfigError(
                f"TextTransformer.dim is {self.dim} with {self.heads} heads", "heads must divide dim", "e.g. dim=64, heads=4"
            )
        return self

    def module(self, shape: tuple[int, ...], classes: int) -> nn.Module:
        """See `Architecture.module`; sequences (words, numbers a word)."""
        if len(shape) != 2:
            raise ModelError(
                f"text_transformer was given inputs of shape {shape}",
                "it takes sequences of word vectors (words, numbers a word)",
                "load a text with text:FILE, which embeds it",
            )
        return _Transformer(*shape, classes, self)


class _Transformer(nn.Module):
    def __init__(self, words: int, width: int, classes: int, plan: TextTransformer) -> None:
        super().__init__()
        self.embed = nn.Linear(width, plan.dim)
        self.positions = nn.Parameter(torch.empty(1, words, plan.dim))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(*[AttentionBlock(plan.dim, plan.heads) for _ in range(plan.depth)])
        self.norm = nn.LayerNorm(plan.dim)
        self.head = nn.Linear(plan.dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x) + self.positions
        return self.head(self.norm(self.blocks(tokens)).mean(1))  # type: ignore[no-any-return]
