"""What all sections of a job file have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

COUNT = "a whole number of at least 1"

Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Section(BaseModel):
    """Base of all sections: unknown keys are refused, ``"3"`` is no number, nothing is infinite."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
