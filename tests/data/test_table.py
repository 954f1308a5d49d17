"""CSV: headers, labels, scales, and errors that say where."""

from pathlib import Path

import pytest
import torch

from martensite.core.errors import DataError
from martensite.data import Dataset, load_data


def read(folder: Path, text: str, **options: str) -> Dataset:
    path = folder / "data.csv"
    path.write_text(text, encoding="utf-8")
    return load_data(path, **options)  # type: ignore[arg-type]


def test_a_header_is_found_and_the_last_column_is_the_label(tmp_path: Path) -> None:
    data = read(tmp_path, "a,b,class\n0.5,1,0\n0,0.25,1\n")
    assert data.x.tolist() == [[0.5, 1.0], [0.0, 0.25]]
    assert (data.y.tolist(), data.name, data.split, data.box) == ([0, 1], "data.csv", "all", (0.0, 1.0))


def test_a_label_column_by_name(tmp_path: Path) -> None:
    data = read(tmp_path, "a,kind,b\n0.5,cat,1\n0,ant,0.25\n1,cat,1\n", label="kind")
    assert data.x.tolist() == [[0.5, 1.0], [0.0, 0.25], [1.0, 1.0]]
    assert (data.y.tolist(), data.class_names) == ([1, 0, 1], ("ant", "cat"))


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("0.5,1\n0.1,0\n", 2),  # no header: a number in front
        ("0.5,cat\n0.1,dog\n", 2),  # text for labels is no header
        ("0,1,label\n0.5,1,1\n0.1,1,0\n", 2),  # numbers for names, as of pixels, but text for the label's name alone
        ("\ufeffa,b\r\n0.5,1\r\n\r\n0.1,0\r\n\r\n", 2),  # as spreadsheets write it
        ('"a, b","c"\n"0.5", 1\n0.1,0', 2),
    ],
)
def test_headers_are_told_from_data(tmp_path: Path, text: str, rows: int) -> None:
    data = read(tmp_path, text)
    assert (len(data), data.x[:, 0].tolist()) == (rows, pytest.approx([0.5, 0.1]))


@pytest.mark.parametrize(
    ("labels", "y", "names"),
    [
        (["0", "1", "3"], [0, 1, 3], ("0", "1", "2", "3")),
        (["1.0", "0.0", "1.0"], [1, 0, 1], ("0", "1")),
        (["-1", "1", "-1"], [0, 1, 0], ("-1", "1")),
        (["-10", "9", "-2"], [0, 2, 1], ("-10", "-2", "9")),
        (["spam", "ham", "spam"], [1, 0, 1], ("ham", "spam")),
        (["1", "none", "10"], [0, 2, 1], ("1", "10", "none")),
        (["nan", "inf", "nan"], [1, 0, 1], ("inf", "nan")),
    ],
)
def test_labels_become_class_numbers(tmp_path: Path, labels: list[str], y: list[int], names: tuple[str, ...]) -> None:
    data = read(tmp_path, "a,label\n" + "".join(f"0.5,{label}\n" for label in labels))
    assert (data.y.tolist(), data.class_names, data.classes) == (y, names, len(names))


def test_minmax_maps_each_column_over_the_whole_file(tmp_path: Path) -> None:
    text = "a,b,c,label\n-10,5,1,0\n30,5,0.5,1\n10,5,0,1\n"
    assert read(tmp_path, text, scale="minmax").x.tolist() == [[0.0, 0.0, 1.0], [1.0, 0.0, 0.5], [0.5, 0.0, 0.0]]
    with pytest.raises(DataError, match="column 'a' ranges over") as caught:
        read(tmp_path, text)
    assert 'scale="minmax"' in caught.value.remedy
    assert "1 more" in caught.value.value


def test_the_column_named_is_the_one_outside_wherever_the_label_stands(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'c' ranges"):
        read(tmp_path, "a,label,c\n0,0,0\n0,1,2\n", label="label")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,label\n0,1,0\n0,x,1\n", r"row 3, column 'b' holds 'x'"),
        ("a,b,label\n0,1,0\n\n0,,1\n", r"row 4, column 'b' holds ''"),
        ("0,1,0\n0,nan,1\n", r"row 2, column '2' holds 'nan'"),
        ("0,1,0\n1e999,1,1\n", r"row 2, column '1' holds '1e999'"),
        ("0,1,0\n1_0,1,1\n", r"row 2, column '1' holds '1_0'"),
        ("a,b,label\n0,1,0\n0,1,\n", r"row 3, column 'label' holds ''"),
        ("a,b,label\n0,1,0\n0,1\n", "row 3 has 2 cells"),
        ("a,b,label\n0,1,0\n0,1,2,3\n", "row 3 has 4 cells"),
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,b,label\n", "a header and no rows"),
        ("a;b;label\n0;1;0\n", "separate the columns by commas"),
        ("a,a,label\n0,1,0\n", "two columns 'a'"),
        ("a,label\n0,0.5\n0,0.7\n", "labels are classes, not quantities"),
        ("a,label\n0,x\n0,x\n", "all labels are 'x'"),
        ("a,label\n0,5000000\n", "at most 100000 classes"),
        ('a,label\n0,"x\n0,y\n', "can't be read"),
    ],
)
def test_bad_tables_say_where(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path, text)
    assert "data.csv" in caught.value.value


def test_options_are_checked(tmp_path: Path) -> None:
    text = "a,b,kind\n0,1,0\n0.5,0,1\n"
    with pytest.raises(DataError, match="did you mean 'kind'"):
        read(tmp_path, text, label="knd")
    with pytest.raises(DataError, match="leave label out"):
        read(tmp_path, "0,1,0\n0.5,0,1\n", label="kind")
    with pytest.raises(DataError, match="did you mean 'minmax'"):
        read(tmp_path, text, scale="min-max")


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="UTF-8"):
        load_data(tmp_path / "data.csv")


def test_a_table_is_split_by_class(tmp_path: Path) -> None:
    text = "".join(f"{k / 100},{'yes' if k % 5 else 'no'}\n" for k in range(100))
    test = read(tmp_path, text, split="test")
    assert torch.bincount(test.y).tolist() == [4, 16]
