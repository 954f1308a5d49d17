"""The dozen adversarials that a page shows: true ones, of broken samples, bound to their report."""

from types import SimpleNamespace

import pytest
import torch

from martensite.attacks import FGSM, PGD, HopSkipJump
from martensite.core.errors import ArtifactError
from martensite.evaluation import Suite, evaluate
from martensite.evaluation.examples import SHOWN, Examples, load_examples
from martensite.evaluation.work import Measured, Piece
from martensite.models import Access, BlackBox

SUITE = Suite(name="two", attacks=(FGSM(), PGD(steps=5)), curve=(0.5,), curve_attack=PGD(steps=5))


@pytest.fixture
def kept(linear, data, threat, tmp_path):
    file = tmp_path / "examples.safetensors"
    report = evaluate(linear, data, threat, SUITE, examples=file)
    return SimpleNamespace(file=file, report=report, pairs=load_examples(file, report.model_digest, report.data.digest))


def test_they_are_adversarials_of_broken_samples(kept, linear, data, threat):
    broken = kept.report.outcomes.count("broken")
    assert len(kept.pairs) == min(SHOWN, broken)
    for pair in kept.pairs:
        assert kept.report.outcomes[pair.index] == "broken"
        assert torch.equal(pair.clean, data.x[pair.index])
        assert float((pair.adversarial - pair.clean).abs().max()) <= threat.eps + 1e-6
        with torch.inference_mode():
            clean, attacked = linear(torch.stack([pair.clean, pair.adversarial])).softmax(1)
        assert pair.label == pair.clean_prediction == data.class_names[int(clean.argmax())]
        assert pair.adversarial_prediction == data.class_names[int(attacked.argmax())] != pair.label
        assert pair.clean_confidence == pytest.approx(float(clean.max()), abs=1e-6)
        assert pair.adversarial_confidence == pytest.approx(float(attacked.max()), abs=1e-6)
        assert pair.attack in ("fgsm", "pgd")


def test_the_report_is_the_same_without_them(kept, linear, data, threat):
    assert evaluate(linear, data, threat, SUITE).model_dump(exclude={"timing"}) == kept.report.model_dump(exclude={"timing"})


def test_they_belong_to_one_report(kept):
    assert load_examples(kept.file, "sha256:other", kept.report.data.digest) == []
    assert load_examples(kept.file, kept.report.model_digest, "sha256:other") == []
    assert load_examples(kept.file.with_name("none"), kept.report.model_digest, kept.report.data.digest) == []


def test_a_damaged_file_is_refused(kept):
    kept.file.write_bytes(kept.file.read_bytes()[:-40])
    with pytest.raises(ArtifactError, match="evaluate --out"):
        load_examples(kept.file, kept.report.model_digest, kept.report.data.digest)


def test_of_labels_nobody_is_sure(linear, data, threat, tmp_path):
    def predict(x):
        with torch.inference_mode():
            return linear(torch.as_tensor(x)).argmax(1).numpy()

    model = BlackBox(predict, 2, access=Access.DECISIONS)
    suite = Suite(name="labels", attacks=(HopSkipJump(queries=100),))
    report = evaluate(model, data.subset(slice(0, 20)), threat, suite, examples=tmp_path / "file")
    pairs = load_examples(tmp_path / "file", report.model_digest, report.data.digest)
    assert len(pairs) == min(SHOWN, report.outcomes.count("broken")) > 0
    assert {pair.clean_confidence for pair in pairs} == {pair.adversarial_confidence for pair in pairs} == {None}


def test_pieces_in_any_order_leave_the_same_samples_and_the_surest_adversarial(data):
    def measured(rows, sure):
        yes, no = torch.ones(len(rows), dtype=torch.bool), torch.zeros(len(rows), dtype=torch.bool)
        found = data.x[rows] + sure
        return Measured(yes, yes, no, 0.1 * yes, 0, 0, 0, 0, 0, 0.0, (), torch.full((len(rows),), sure), found)

    method = SimpleNamespace(ball=True)
    pieces = []
    for number, sure in ((0, 0.25), (1, 0.5), (2, 0.125)):
        rows = torch.arange(number * 10, number * 10 + 60)
        pieces.append((Piece(SimpleNamespace(role="all", method=method, name=str(number)), rows), measured(rows, sure)))
    found = []
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        examples = Examples(data, seed=0, shown=8)
        for place in order:
            examples.take(*pieces[place])
        found.append({row: one.attack for row, one in examples._found.items()})
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 8
    assert all(attack == ("1" if 10 <= row < 70 else "0" if row < 10 else "2") for row, attack in found[0].items())
