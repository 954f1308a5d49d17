"""The digits that ship with scikit-learn, and their digests for all time."""

import torch

from martensite.data import load_data

DIGESTS = {
    "all": "sha256:b0166af2d73af55cdea7738ce4a0cf6c7a56030785cd50b08bd570606f201a75",
    "test": "sha256:cc90495e2ceb74c4dbc6c852ceb5a7fdf653cc5d2d278bb2ca7417228ab46815",
    "train": "sha256:4f0fa97a779ce14f724f74966dc5549e86e234ae9fb687affd91ba84ccfbdb3d",
    "validation": "sha256:8a54041fbd1532cc9d5d79144823e1eae768f5017f912992dfbc696e5ce32a78",
}


def test_every_image_is_in_one_part() -> None:
    parts = [load_data("digits", split) for split in ("train", "validation", "test")]
    assert [len(p) for p in parts] == [1078, 270, 449]
    whole = load_data("digits", "all")
    assert (len(whole), whole.shape, whole.classes, whole.box) == (1797, (1, 8, 8), 10, (0.0, 1.0))
    together = torch.cat([p.x for p in parts]).flatten(1)
    assert torch.equal(together.sum(1).sort().values, whole.x.flatten(1).sum(1).sort().values)
    assert float(whole.x.max()) == 1.0
    for p in parts:
        share = torch.bincount(p.y) / torch.bincount(whole.y)
        assert float((share - len(p) / 1797).abs().max()) < 0.012


def test_test_is_the_default() -> None:
    assert load_data("digits").digest == load_data("digits", "test").digest


def test_the_digests_are_those_of_every_report_so_far() -> None:
    # A change here unties every report and attestation from its data: it needs a reason and a line in the changelog.
    assert {s: load_data("digits", s).digest for s in ("train", "validation", "test", "all")} == DIGESTS
