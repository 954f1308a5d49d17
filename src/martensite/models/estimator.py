"""A scikit-learn estimator as a model, in this process or from a skops file; and whatever has its interface."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from martensite.core.errors import ArtifactError, ModelError
from martensite.core.files import sha256
from martensite.models.access import Access
from martensite.models.black_box import BlackBox
from martensite.threat.ball import Box


def from_estimator(estimator: Any, classes: int, box: Box = (0.0, 1.0), digest: str | None = None) -> BlackBox:
    """A black box: by ``decision_function`` or ``predict_proba`` if there is one, else by labels.

    Args:
        estimator: A fitted classifier whose labels are class numbers; inputs are flattened for it.
        classes: K. A class that it never saw in training gets the lowest score there is.
        box: Lowest and highest valid input value.
        digest: See `BlackBox`.

    Raises:
        ModelError: not fitted, no classifier, or labels that are no class numbers.
    """
    labels = getattr(estimator, "classes_", None)
    if labels is None or not hasattr(estimator, "predict"):
        raise ModelError(
            f"{type(estimator).__name__} has no classes_ or predict", "a fitted classifier is needed", "fit it first"
        )
    numbers = np.asarray(labels)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or numbers.min() < 0 or numbers.max() >= classes:
        raise ModelError(
            f"its labels are {numbers.tolist()!r} and there are {classes} classes", "labels are numbers 0..K-1", "number them"
        )
    function = next((name for name in ("decision_function", "predict_proba") if hasattr(estimator, name)), None)

    def decide(x: npt.NDArray[np.float32]) -> Any:
        return np.asarray(estimator.predict(x.reshape(len(x), -1))).astype(np.int64)

    def score(x: npt.NDArray[np.float32]) -> Any:
        found = np.asarray(getattr(estimator, str(function))(x.reshape(len(x), -1)), dtype=np.float64)
        if found.ndim == 1:  # of two classes, a decision function gives the lead of the second
            found = np.stack([-found / 2, found / 2], axis=1)
        if found.shape != (len(x), len(numbers)):
            raise ModelError(f"{function} returns shape {found.shape}", f"({len(x)}, {len(numbers)}) is needed")
        scores = np.full((len(x), classes), found.min(axis=1, keepdims=True) - 1.0)
        scores[:, numbers] = found
        return scores

    if function is None:
        return BlackBox(decide, classes, box, Access.DECISIONS, digest=digest)
    return BlackBox(score, classes, box, Access.SCORES, digest=digest)


def load_skops(path: Path, classes: int, box: Box = (0.0, 1.0)) -> BlackBox:
    """The estimator in a skops file, which holds types by name and no pickles; only scikit-learn's and numpy's are made.

    Raises:
        ArtifactError: missing, no skops file, or one that wants other types than skops trusts by itself.
        ModelError: skops isn't installed, or see `from_estimator`.
    """
    try:
        import skops.io
    except ImportError:
        raise ModelError(f"{path} needs skops", "it is in an extra", "pip install 'martensite[skops]'") from None
    try:
        content = path.read_bytes()
        untrusted = skops.io.get_untrusted_types(data=content)
        if untrusted:
            raise ArtifactError(
                f"{path} wants {', '.join(untrusted)}", "only known types are made from a file", "retrain without"
            )
        estimator = skops.io.loads(content)
    except OSError as error:
        raise ArtifactError(f"{path} can't be read: {error.strerror}", remedy="give the path of a .skops file") from None
    except ArtifactError:
        raise
    except Exception as error:  # zipfile, json and skops each complain in their own way
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise ArtifactError(f"{path} is no skops file: {reason}", "it is truncated, or another kind of file") from None
    return from_estimator(estimator, classes, box, sha256(content))
