"""An HTTP endpoint that speaks the Open Inference Protocol v2, as a model by queries.

https://github.com/kserve/open-inference-protocol: ``GET v2/models/NAME`` names inputs and outputs, ``POST`` to its ``/infer``
takes tensors as JSON. A query that fails is asked again a few times; one that fails for good is an error of the samples it was
about, never an answer. Where nobody answers at all, or whoever asks is refused, the run stops.
"""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from martensite.core.config import Config
from martensite.core.errors import ModelError, QueryError, UnreachableError
from martensite.models.access import Access
from martensite.models.black_box import BlackBox
from martensite.threat.ball import Box

AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})  # answers after which asking again may help
REFUSED = frozenset({401, 403, 404})  # answers that every other query would get as well
DATATYPES = {"FP32": np.float32, "FP64": np.float64}
LABELS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})


class Manners(Config):
    """How an endpoint is asked.

    Args:
        batch: Most samples a request.
        timeout: Seconds for one request.
        retries: Times that a failed request is asked again.
        backoff: Seconds before the first of them; doubled before each further one.
        retry_budget: Retries of the whole run; once it is spent every failure is final at once.
        rate: Most requests a second; None: no limit.
    """

    batch: PositiveInt = 64
    timeout: PositiveFloat = 30.0
    retries: NonNegativeInt = 3
    backoff: NonNegativeFloat = 0.25
    retry_budget: NonNegativeInt = 100
    rate: float | None = Field(default=None, gt=0.0)


def connect(
    url: str,
    classes: int,
    box: Box = (0.0, 1.0),
    *,
    manners: Manners | None = None,
    token: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> BlackBox:
    """A black box behind ``http(s)://HOST/v2/models/NAME``: by scores if an output holds floating-point numbers, else by labels.

    Args:
        url: Of the model, with or without ``/infer``; a version (``/versions/1``) may be part of it.
        classes: K.
        box: Lowest and highest valid input value.
        manners: Batches, timeouts, retries, rate; None: the defaults.
        token: Sent as a bearer token.
        sleep: Waits between requests.

    Raises:
        ModelError: httpx isn't installed, or metadata without one floating-point input and an output of scores or labels.
        UnreachableError: nobody answers there, or refuses whoever asks (status 401, 403, 404); also when called.
        QueryError: when called, a query that failed for good, or an answer that isn't of this protocol.
    """
    client = _Client(url.rstrip("/").removesuffix("/infer"), manners or Manners(), token, sleep)
    described = client.ask("GET", "", None)
    try:
        (source,) = described["inputs"]
        kind, name = source["datatype"], source["name"]
        outputs = {one["datatype"]: one["name"] for one in reversed(described["outputs"])}
        found = next((known for known in (*DATATYPES, *sorted(LABELS)) if known in outputs), None)
        shape = tuple(int(side) for side in source["shape"][1:])
    except (KeyError, TypeError, ValueError):
        kind = found = None
    if kind not in DATATYPES or found is None:
        raise ModelError(
            f"{url} describes itself as {described!r:.300}",
            "one input of FP32 or FP64 and one output of scores (FP32, FP64) or of labels (INT64 and the like) are needed",
        )
    access, output = Access.SCORES if found in DATATYPES else Access.DECISIONS, outputs[found]

    def predict(x: npt.NDArray[np.float32]) -> Any:
        parts = [x[start : start + client.manners.batch] for start in range(0, len(x), client.manners.batch)]
        answers = [_answer(client, part, name, kind, output) for part in parts]
        if access is Access.SCORES:
            return np.concatenate(answers).astype(np.float64)
        return np.concatenate([answer.reshape(-1) for answer in answers]).astype(np.int64)

    fixed = shape if all(side > 0 for side in shape) else None
    return BlackBox(predict, classes, box, access, fixed, digest=f"endpoint:{client.url}")


def _answer(client: "_Client", x: npt.NDArray[np.float32], name: str, kind: str, output: str) -> Any:
    tensor = {"name": name, "shape": list(x.shape), "datatype": kind, "data": x.astype(DATATYPES[kind]).ravel().tolist()}
    answer = client.ask("POST", "/infer", {"inputs": [tensor], "outputs": [{"name": output}]})
    try:
        found = next(one for one in answer["outputs"] if one["name"] == output)
        numbers = np.asarray(found["data"]).reshape(tuple(found["shape"]))
        if len(numbers) != len(x) or numbers.dtype.kind not in "fiu":
            raise ValueError
    except (KeyError, TypeError, ValueError, StopIteration):
        rule = f"an output {output!r} with shape and data for {len(x)} inputs is needed"
        raise QueryError(f"{client.url} answered {answer!r:.300}", rule) from None
    return numbers


class _Client:
    """Asks, waits, and asks again."""

    def __init__(self, url: str, manners: Manners, token: str | None, sleep: Callable[[float], None]) -> None:
        try:
            import httpx
        except ImportError:
            raise ModelError(f"{url} needs httpx", "it is in an extra", "pip install 'martensite[http]'") from None
        self.url, self.manners, self._sleep = url, manners, sleep
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http, self._failures = httpx.Client(timeout=manners.timeout, headers=self._headers), httpx.TransportError
        self._nobody = httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol
        self._left, self._next = manners.retry_budget, 0.0

    def ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        """The JSON of the answer."""
        reason, wait = "", self.manners.backoff
        kind: type[ModelError] = QueryError
        for attempt in range(self.manners.retries + 1):
            if attempt:
                if not self._left:
                    reason += "; the run's budget of retries is spent"
                    break
                self._left -= 1
                self._sleep(wait)
                wait *= 2
            self._pace()
            try:
                answer = self._http.request(method, self.url + path, json=body)
            except self._failures as error:
                reason = f"{type(error).__name__}: {error}"
                kind = UnreachableError if isinstance(error, self._nobody) else QueryError
                continue
            kind = UnreachableError if answer.status_code in REFUSED else QueryError
            if answer.status_code == 200:
                try:
                    return answer.json()
                except ValueError:
                    reason = "the answer is not JSON"
                    continue
            reason = f"status {answer.status_code}: {answer.text[:200]}"
            if answer.status_code not in AGAIN:
                break
        raise kind(f"{self.url} did not answer: {reason}", "a failed query is no answer", "check the endpoint, then resume")

    def _pace(self) -> None:
        if self.manners.rate is None:
            return
        now = time.monotonic()
        if now < self._next:
            self._sleep(self._next - now)
        self._next = max(now, self._next) + 1.0 / self.manners.rate
