"""The pre-norm block of transformers: attention, then a small network at every token.

Vaswani et al. 2017, "Attention is all you need", arXiv:1706.03762, sec. 3.2, normalised before each part as by Dosovitskiy et al.
2021, arXiv:2010.11929, eq. 2 and 3.
"""

from torch import Tensor, nn
from torch.nn import functional as F


class AttentionBlock(nn.Module):
    """z + attention(norm(z)), then z + mlp(norm(z)), for tokens z (n, tokens, dim).

    Args:
        dim: Width of a token, a multiple of ``heads``.
        heads: Attention heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, z: Tensor) -> Tensor:
        """(n, tokens, dim)."""
        z = z + self.attention(self.norm1(z))
        return z + self.mlp(self.norm2(z))  # type: ignore[no-any-return]

    def attention(self, z: Tensor) -> Tensor:
        """Softmax attention of every token to every token, in each head apart."""
        n, tokens, dim = z.shape
        query, key, value = self.qkv(z).view(n, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).reshape(n, tokens, dim))  # type: ignore[no-any-return]
