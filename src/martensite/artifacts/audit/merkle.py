"""Merkle trees over a growing list: one hash for all records, and short proofs that a record, or an earlier tree, is in it.

RFC 6962, sec. 2.1 (tree hash, with different first bytes for leaves and nodes, so that neither passes for the other), 2.1.1
(inclusion), 2.1.2 (consistency); checking proofs as in RFC 9162, sec. 2.1.3.2 and 2.1.4.2.
"""

import hashlib
from collections.abc import Iterable, Sequence

EMPTY = hashlib.sha256().digest()


def leaf_hash(content: bytes) -> bytes:
    """SHA-256(0x00 || content)."""
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class Frontier:
    """The roots of the full subtrees of a tree that leaves are added to, largest first.

    Attributes:
        size: Number of leaves.
    """

    def __init__(self) -> None:
        self.size = 0
        self._roots: list[bytes] = []

    def add(self, subtree: bytes, height: int = 0) -> None:
        """Add the root of a full subtree of ``2**height`` leaves; ``size`` must be a multiple of that."""
        place = self.size >> height
        self.size += 1 << height
        while place & 1:
            subtree = node_hash(self._roots.pop(), subtree)
            place >>= 1
        self._roots.append(subtree)

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaf hashes."""
        for leaf in leaves:
            self.add(leaf)

    @property
    def root(self) -> bytes:
        """MTH of the leaves so far."""
        if not self._roots:
            return EMPTY
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """MTH of leaf hashes."""
    frontier = Frontier()
    frontier.extend(leaves)
    return frontier.root


def inclusion_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH(index, leaves): what, with the leaf, gives the root. ``index`` in 0..n-1."""
    if len(leaves) == 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*inclusion_path(index, leaves[:split]), tree_root(leaves[split:])]
    return [*inclusion_path(index - split, leaves[split:]), tree_root(leaves[:split])]


def root_by_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes | None:
    """The root that the path leads to; None where no tree of that size has such a path."""
    if not 0 <= index < size:
        return None
    place, last, root = index, size - 1, leaf
    for step in path:
        if last == 0:
            return None
        if place & 1 or place == last:
            root = node_hash(step, root)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            root = node_hash(root, step)
        place, last = place >> 1, last >> 1
    return root if last == 0 else None


def consistency_path(first: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PROOF(first, leaves): that the tree of the first so many leaves is the beginning of this one. ``first`` in 1..n."""
    return _subproof(first, leaves, True)


def consistent(first: int, second: int, old: bytes, new: bytes, path: Sequence[bytes]) -> bool:
    """Is the tree of size ``first`` and root ``old`` the beginning of that of size ``second`` and root ``new``?"""
    if first == second:
        return old == new and not path
    if not 0 < first < second or not path:
        return False
    steps = list(path) if first & (first - 1) else [old, *path]
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, step)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old and after == new


def _subproof(first: int, leaves: Sequence[bytes], whole: bool) -> list[bytes]:
    if first == len(leaves):
        return [] if whole else [tree_root(leaves)]
    split = _split(len(leaves))
    if first <= split:
        return [*_subproof(first, leaves[:split], whole), tree_root(leaves[split:])]
    return [*_subproof(first - split, leaves[split:], False), tree_root(leaves[:split])]


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << (size - 1).bit_length() - 1
