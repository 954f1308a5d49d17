"""Merkle trees: the roots that Certificate Transparency's own tests state, and proofs by brute force over small trees."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from martensite.artifacts.audit.merkle import (
    Frontier,
    consistency_path,
    consistent,
    inclusion_path,
    leaf_hash,
    node_hash,
    root_by_inclusion,
    tree_root,
)

# google/certificate-transparency, merkle tree test vectors.
INPUTS = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def leaves(n):
    return [leaf_hash(bytes([i])) for i in range(n)]


def by_definition(hashes):
    """RFC 6962, sec. 2.1, word by word."""
    if not hashes:
        return hashlib.sha256().digest()
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while 2 * k < len(hashes):
        k *= 2
    return hashlib.sha256(b"\x01" + by_definition(hashes[:k]) + by_definition(hashes[k:])).digest()


@pytest.mark.parametrize("n", range(1, 9))
def test_known_roots(n):
    assert tree_root([leaf_hash(bytes.fromhex(text)) for text in INPUTS[:n]]).hex() == ROOTS[n - 1]


@pytest.mark.parametrize("n", range(40))
def test_roots_by_definition(n):
    assert tree_root(leaves(n)) == by_definition(leaves(n))


def test_leaf_and_node_do_not_pass_for_each_other():
    left, right = leaves(2)
    assert leaf_hash(left + right) != node_hash(left, right)


@pytest.mark.parametrize("height", [0, 1, 3])
def test_full_subtrees_may_be_added_whole(height):
    frontier, size = Frontier(), 1 << height
    for start in range(0, 8 * size, size):
        frontier.add(tree_root(leaves(8 * size)[start : start + size]), height)
        assert frontier.root == tree_root(leaves(start + size))


@given(st.integers(1, 40), st.data())
def test_inclusion_is_proved_of_the_leaf_at_its_place_only(n, data):
    index, hashes = data.draw(st.integers(0, n - 1)), leaves(n)
    path = inclusion_path(index, hashes)
    assert root_by_inclusion(index, n, hashes[index], path) == tree_root(hashes)
    other = data.draw(st.integers(0, n - 1))
    if other != index:
        assert root_by_inclusion(other, n, hashes[index], path) != tree_root(hashes)
        assert root_by_inclusion(index, n, hashes[other], path) != tree_root(hashes)
    assert root_by_inclusion(index, n, hashes[index], [*path, path[0] if path else hashes[0]]) is None
    assert root_by_inclusion(n, n, hashes[index], path) is None


@given(st.integers(1, 40), st.data())
def test_growth_is_proved_of_the_true_beginning_only(n, data):
    first, hashes = data.draw(st.integers(1, n)), leaves(n)
    old, new = tree_root(hashes[:first]), tree_root(hashes)
    path = consistency_path(first, hashes)
    assert consistent(first, n, old, new, path)
    changed = [*hashes]
    place = data.draw(st.integers(0, first - 1))
    changed[place] = leaf_hash(b"changed")
    assert not consistent(first, n, old, tree_root(changed), consistency_path(first, changed))
    if first < n:
        assert not consistent(first, n, old, new, path[:-1])
        assert not consistent(first, n, old, new, [*path, path[0]])
        assert not consistent(first, n, bytes(32), new, path)
        assert not consistent(0, n, old, new, path)
