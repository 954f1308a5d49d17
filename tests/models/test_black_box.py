"""A callable as a model: what comes out is checked, what goes in can't be spoilt."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from martensite.core.errors import AccessError, ModelError
from martensite.data import load_data
from martensite.models import Access, BlackBox, Model

X = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
WEIGHTS = np.arange(12, dtype=np.float64).reshape(4, 3) - 5


def scores(x: Any) -> Any:
    return x @ WEIGHTS


def decide(x: Any) -> Any:
    return scores(x).argmax(1)


def test_it_is_a_model() -> None:
    model = BlackBox(scores, 3)
    assert isinstance(model, Model)
    assert (model.access, model.device.type, model.dtype) == (Access.SCORES, "cpu", torch.float32)


def test_scores_are_those_of_the_callable() -> None:
    logits = BlackBox(scores, 3)(X)
    assert logits.dtype == torch.float32
    torch.testing.assert_close(logits, (X.double() @ torch.from_numpy(WEIGHTS)).float())


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_decisions_become_one_hot(dtype: Any) -> None:
    model = BlackBox(lambda x: decide(x).astype(dtype), 3, access=Access.DECISIONS)
    assert torch.equal(model(X), torch.eye(3)[torch.from_numpy(decide(X.numpy()))])


def test_the_callable_gets_float32_and_cannot_touch_the_input() -> None:
    seen = []

    def normalise_in_place(x: Any) -> Any:
        seen.append((type(x), x.dtype, x.shape))
        x -= 100.0
        return np.zeros((len(x), 3))

    before = X.clone()
    BlackBox(normalise_in_place, 3)(X)
    BlackBox(normalise_in_place, 3)(X.double().requires_grad_())
    assert torch.equal(X, before)
    assert seen == [(np.ndarray, np.dtype("float32"), (5, 4))] * 2


def test_a_buffer_that_the_callable_uses_again_does_not_change_old_scores() -> None:
    buffer = np.zeros((5, 3), dtype=np.float32)

    def predict(x: Any) -> Any:
        buffer[:] += 1.0
        return buffer

    model = BlackBox(predict, 3)
    first = model(X)
    model(X)
    assert torch.equal(first, torch.ones(5, 3))


@pytest.mark.parametrize("kind", [">f8", "float16", "longdouble"])
def test_any_floating_type_will_do(kind: str) -> None:
    assert torch.equal(BlackBox(lambda x: np.ones((len(x), 3), dtype=kind), 3)(X), torch.ones(5, 3))


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (np.zeros((5, 4)), r"shape \(5, 4\)"),
        (np.zeros((4, 3)), r"shape \(4, 3\)"),
        (np.zeros(5), r"shape \(5,\)"),
        (np.zeros(5, dtype=np.int64), "access=Access.DECISIONS"),
        (np.zeros((5, 3), dtype=np.int64), "floating-point"),
        (np.full((5, 3), np.nan), "NaN"),
        (np.full((5, 3), 1e300), "infinite"),
        (np.array([["a"] * 3] * 5), "are numbers"),
        (None, "are numbers"),
    ],
)
def test_wrong_scores_are_refused(output: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        BlackBox(lambda x: output, 3)(X)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (np.zeros((5, 3)), "access=Access.SCORES"),
        (np.zeros(5), "one class number an input"),
        (np.zeros(4, dtype=np.int64), r"\(5,\)"),
        (np.array([0, 1, 2, 3, 0]), r"0\.\.2"),
        (np.array([0, -1, 2, 1, 0]), r"-1\.\.2"),
    ],
)
def test_wrong_decisions_are_refused(output: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        BlackBox(lambda x: output, 3, access=Access.DECISIONS)(X)


def test_promises_that_a_callable_cannot_keep_are_refused() -> None:
    with pytest.raises(AccessError, match="wrap a torch module in Classifier"):
        BlackBox(scores, 3, access=Access.GRADIENTS)
    with pytest.raises(ModelError, match="at least 2 classes"):
        BlackBox(scores, 1)
    with pytest.raises(ModelError, match="lower end"):
        BlackBox(scores, 3, box=(1, 0))
    with pytest.raises(ModelError, match=r"takes \(7,\)"):
        BlackBox(scores, 3, shape=(7,))(X)


def test_a_scikit_learn_model_is_one() -> None:
    train, test = load_data("digits", "train"), load_data("digits", "test")
    fitted = LogisticRegression(max_iter=200).fit(train.x.flatten(1).numpy(), train.y.numpy())
    model = BlackBox(lambda x: fitted.decision_function(x.reshape(len(x), -1)), 10, shape=test.shape)
    assert float((model(test.x).argmax(1) == test.y).float().mean()) > 0.9
