"""Texts as word vectors: what a word's vector is, what a file may hold, and what eps means between words."""

import math
from pathlib import Path

import pytest
import torch

from martensite.core.errors import DataError
from martensite.data import load_data
from martensite.data.text import embed, load_text, tokens, vector

SMS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sms-spam" / "SMSSpamCollection"


def write(folder, *lines, name="texts"):
    path = folder / name
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path):
    return write(tmp_path, "kind\ttext", *["ham\tGood morning, you!", "spam\tWIN 1000 pounds now"] * 10)


def test_words_are_letters_numbers_and_single_signs():
    assert tokens("Don't pay £100, URGENT!! snake_case") == [
        "don't",
        "pay",
        "£",
        "100",
        ",",
        "urgent",
        "!",
        "!",
        "snake",
        "_",
        "case",
    ]


def test_a_word_is_one_fixed_vector_of_length_one():
    assert vector("free", 4).tolist() == vector("free", 4).tolist()
    assert float(vector("free").norm()) == pytest.approx(1.0)
    assert vector("free").unique().tolist() == pytest.approx([-(32**-0.5), 32**-0.5])


def test_two_words_are_sqrt_two_apart_on_average():
    vectors = torch.stack([vector(f"word{k}", 32) for k in range(400)])
    squared = torch.cdist(vectors, vectors).square()[~torch.eye(400, dtype=torch.bool)]
    # 4 / dim times a binomial (dim, 1/2): mean 2, and 79,800 pairs leave the mean uncertain by about 0.003.
    assert float(squared.mean()) == pytest.approx(2.0, abs=0.02)
    assert float(squared.min()) > 0
    assert math.isclose(float(squared.var()), 4 / 32, rel_tol=0.1)  # (4 / dim) ** 2 * dim / 4


def test_long_texts_are_cut_and_short_ones_end_in_zeros():
    x = embed(["one two three four", "one"], words=3, dim=8)
    assert x.shape == (2, 3, 8)
    assert torch.equal(x[0, 0], x[1, 0])
    assert torch.equal(x[0, 2], vector("three", 8))
    assert not x[1, 1:].any()


def test_a_file_becomes_labelled_sequences_in_the_box(file):
    data = load_text(file)
    assert (data.shape, len(data), data.box, data.class_names) == ((40, 32), 20, (-1.0, 1.0), ("ham", "spam"))
    assert data.y.tolist() == [0, 1] * 10
    assert data.digest == load_data(f"text:{file}").digest
    assert (
        len(load_data(f"text:{file}", "train"))
        + len(load_data(f"text:{file}", "validation"))
        + len(load_data(f"text:{file}", "test"))
        == 20
    )


def test_the_header_is_dropped_and_a_file_without_one_keeps_its_first_line(file, tmp_path):
    bare = write(tmp_path, *file.read_text().split("\n")[1:], name="bare")
    assert load_text(bare).digest == load_text(file).digest


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (["ham\tgood", "no tab here"], "line 2 is 'no tab here'"),
        (["ham\tgood", "spam\t   "], "line 2"),
        (["\tgood", "spam\tbad"], "line 1"),
        ([""], "has no text"),
        (["ham\tgood"], "has no text"),
        (["ham\tgood", "ham\tbetter"], "all labels are 'ham'"),
    ],
)
def test_what_is_no_text_file_is_refused(tmp_path, lines, says):
    path = write(tmp_path, *lines)
    with pytest.raises(DataError, match=says) as caught:
        load_data(f"text:{path}")
    assert str(path) in caught.value.value


def test_missing_files_other_encodings_and_sizes_are_refused(tmp_path, file):
    with pytest.raises(DataError, match="can't be read"):
        load_data(f"text:{tmp_path / 'none'}")
    (tmp_path / "latin").write_bytes("ham\tcaf\xe9\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        load_text(tmp_path / "latin")
    with pytest.raises(DataError, match="dim is 300"):
        load_text(file, dim=300)
    with pytest.raises(DataError, match="label and scale are for CSV files"):
        load_data(f"text:{file}", label="kind")


@pytest.mark.skipif(not SMS.is_file(), reason="no SMS spam collection beside the checkout")
def test_the_sms_collection():
    data = load_data(f"text:{SMS}")
    assert len(data) == 5574  # as its README counts them
    assert torch.bincount(data.y).tolist() == [4827, 747]
