"""Texts as sequences of word vectors: a file with a label, a tab and a text a line.

A gradient can't reach a word, but it reaches the vector that stands for it, so that is the input, and a threat model speaks of
these vectors. Every word has one fixed vector of length 1 with entries +-1/sqrt(dim), drawn from its hash: no vocabulary
is learned, stored or exhausted, and two words are sqrt(2) apart on average. An embedding in training could grow until a given eps
means nothing; this one can't, so eps keeps its meaning: an L2 eps of 0.7 is half the way from one word to another, spent on one
word or spread over all. What an adversary reaches that way is hardly ever a text: robustness to it is no robustness to typing
errors or synonyms, which must be measured on texts.
"""

import hashlib
import math
import re
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from martensite.core.errors import DataError
from martensite.data.dataset import Dataset
from martensite.data.labels import class_numbers
from martensite.data.split import check_split, part

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[^\w\s]|_")
WORDS, DIM = 40, 32
BOX = (-1.0, 1.0)
# Two different words share all signs by a chance of 2**-DIM.
LARGEST_DIM = 256


def load_text(path: Path, split: str = "all", *, words: int = WORDS, dim: int = DIM) -> Dataset:
    """x (n, words, dim) in [-1, 1] and the labels of a file of ``LABEL TAB TEXT`` lines in UTF-8, split 0.7, 0.1, 0.2.

    Args:
        path: The file. A first line whose label occurs nowhere else is a header.
        split: ``"train"``, ``"validation"``, ``"test"`` or ``"all"``.
        words: Length of a sequence: longer texts are cut, shorter ones end in zeros.
        dim: Numbers a word, at most 256.

    Raises:
        DataError: a file that is missing, empty or not UTF-8, a line without a tab, a text without a word, a bad size.
    """
    check_split(split)
    if words < 1 or not 1 <= dim <= LARGEST_DIM:
        raise DataError(
            f"words is {words} and dim is {dim}", f"words >= 1 and 1 <= dim <= {LARGEST_DIM}", "e.g. words=40, dim=32"
        )
    rows = _rows(path)
    y, names = class_numbers([label for label, _ in rows])
    x = embed((text for _, text in rows), words, dim)
    return part(Dataset(x, y, len(names), path.name, "all", BOX, names), split)


def embed(texts: Iterable[str], words: int = WORDS, dim: int = DIM) -> Tensor:
    """float32 (n, words, dim): the vectors of each text's words, in order; zeros after the last."""
    known: dict[str, Tensor] = {}
    rows = []
    for text in texts:
        row = torch.zeros(words, dim)
        for place, word in enumerate(tokens(text)[:words]):
            if word not in known:
                known[word] = vector(word, dim)
            row[place] = known[word]
        rows.append(row)
    return torch.stack(rows)


def tokens(text: str) -> list[str]:
    """Words in small letters, numbers, and every other sign by itself."""
    return WORD.findall(text.lower())


def vector(word: str, dim: int = DIM) -> Tensor:
    """float32 (dim,) of length 1: the first bits of the word's SHA-256 as signs."""
    digest = hashlib.sha256(word.encode()).digest()
    bits = [(digest[k // 8] >> (k % 8)) & 1 for k in range(dim)]
    return torch.tensor(bits, dtype=torch.float32).mul_(2.0).sub_(1.0).div_(math.sqrt(dim))


def _rows(path: Path) -> list[tuple[str, str]]:
    """Label and text of each line that isn't empty."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        rule = "a text file has a label, a tab and a text in each line, in UTF-8"
        raise DataError(f"{path} can't be read: {error}", rule, "check the path, or convert it") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        label, tab, text = line.partition("\t")
        if not tab or not label.strip() or not tokens(text):
            rule = "every line has a label, a tab and a text of at least one word"
            raise DataError(f"{path}: line {number} is {line[:60]!r}", rule, "mend or drop the line")
        rows.append((label.strip(), text))
    if rows and [label for label, _ in rows].count(rows[0][0]) == 1:
        rows = rows[1:]
    if not rows:
        raise DataError(f"{path} has no text", "a text file has at least one line", "give data")
    return rows
