"""The one door: sources, splits, limits, and what is refused at it."""

from pathlib import Path

import numpy as np
import pytest
import torch

from martensite.core.errors import DataError
from martensite.data import load_data


def test_a_limit_takes_every_class_in_proportion_and_the_first_ones_first() -> None:
    whole, some, fewer = (load_data("digits", limit=n) for n in (None, 100, 30))
    assert torch.bincount(some.y, minlength=10).tolist() == [10] * 10
    assert torch.equal(some.x[:30], fewer.x)
    rows = {tuple(row) for row in whole.x.flatten(1).tolist()}
    assert all(tuple(row) in rows for row in some.x.flatten(1).tolist())


def test_a_limit_beyond_the_data_changes_nothing() -> None:
    assert load_data("digits", limit=449).digest == load_data("digits", limit=10**6).digest == load_data("digits").digest


def test_the_seed_chooses_the_samples_of_a_limit_only() -> None:
    assert load_data("digits", seed=1).digest == load_data("digits", seed=2).digest
    first, again, other = (load_data("digits", limit=50, seed=s).digest for s in (1, 1, 2))
    assert first == again != other


def test_a_path_may_be_text_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "some.npz", x=np.random.default_rng(0).random((9, 2)), y=np.arange(9) % 3)
    (tmp_path / "some.npz").rename(tmp_path / "SOME.NPZ")
    monkeypatch.chdir(tmp_path)
    assert load_data("SOME.NPZ").digest == load_data(tmp_path / "SOME.NPZ").digest


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("digit", "did you mean 'digits'"),
        ("mnist", "did you mean 'mnist:DIR'"),
        ("", "there is no data source ''"),
        ("nowhere.npz", "nowhere.npz doesn't exist"),
        ("nowhere.csv", "nowhere.csv doesn't exist"),
        ("no/such/folder", "no/such/folder doesn't exist"),
        ("mnist:nowhere", "nowhere has no file"),
        ("bad\0name", "no data source"),
    ],
)
def test_unknown_sources(source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        load_data(source)


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    (tmp_path / "model.pkl").write_bytes(b"")
    with pytest.raises(DataError, match="is no data file"):
        load_data(tmp_path / "model.pkl")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "tset"}, "did you mean 'test'"),
        ({"split": "valid"}, "did you mean 'validation'"),
        ({"split": ""}, "there is no split ''"),
        ({"limit": 0}, "limit is 0"),
        ({"limit": -3}, "limit is -3"),
        ({"limit": 2.5}, "limit is 2.5"),
        ({"label": "y"}, "for CSV files"),
        ({"scale": "minmax"}, "for CSV files"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_data("digits", **options)  # type: ignore[arg-type]
