"""Labels that come later, so that the accuracy in use is known."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from martensite.core.errors import DataError
from martensite.serving.refusal import Refusal
from martensite.serving.routes.context import admit, fleet_of
from martensite.serving.routes.document import body_of, read_document
from martensite.serving.routes.errors import ERRORS

router = APIRouter(prefix="/v2/models", tags=["feedback"], responses=ERRORS)
Label = Annotated[int, Field(ge=0, lt=2**31)]


class Feedback(BaseModel):
    """The labels of one request's samples, in their order.

    Attributes:
        id: Of the request, as its answer had it.
        labels: Class numbers.
        client: Name of the API key that asked; left out: the key that sends this if it may ask itself, else whichever did. A key
            that may ask itself labels its own answers only.
    """

    model_config = ConfigDict(extra="forbid")

    id: str = Field(min_length=1, max_length=256)
    labels: list[Label] = Field(min_length=1, max_length=10_000)
    client: str | None = Field(default=None, max_length=64)


class Counted(BaseModel):
    """What came of it.

    Attributes:
        labelled: Answers that the labels were held against.
        right: Those of them that were right.
        unanswered: Samples that were refused, abstained on or failed: they count as neither right nor wrong.
    """

    labelled: int
    right: int
    unanswered: int


@router.post("/{model}/feedback", openapi_extra=body_of(Feedback))
async def feedback(request: Request, model: str) -> Counted:
    """Say what the samples of a request were. A label counts once, and only while its answer is remembered."""
    key = admit(request, "feedback", model)
    fleet = fleet_of(request)
    fleet.slot(model)
    document = await read_document(request, Feedback)
    own = "infer" in key.scopes
    if own and document.client not in (None, key.name):
        rule = "who asks could else have a rival's right answers counted wrong"
        raise Refusal(403, "this key labels its own answers only", rule, "label with a key of the scope feedback alone")
    client = key.name if own else document.client
    try:
        found = fleet.live.label(model, document.id, client, document.labels)
    except DataError as error:
        raise Refusal(400, error.value, error.rule, error.remedy) from None
    return Counted(labelled=found.labelled, right=found.right, unanswered=found.unanswered)
