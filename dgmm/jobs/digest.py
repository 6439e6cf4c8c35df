"""A job in a few digits: what its runs, its checkpoint and its refits know it again by."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from dgmm.jobs.loading import Job

_ELSEWHERE = ("cluster", "checkpoint", "run")
"""Sections that say where and how a job is run, not what comes out."""


def sections_of(job: Job) -> dict[str, Any]:
    """The sections of a job as values that JSON can hold, with all defaults and with paths resolved."""
    sections = {one.name: getattr(job, one.name) for one in fields(job)}
    return {name: plain(section.model_dump()) for name, section in sections.items() if isinstance(section, BaseModel)}


def plain(value: Any) -> Any:
    """A value of a section as JSON can hold it."""
    if is_dataclass(value) and not isinstance(value, type):
        value = {one.name: getattr(value, one.name) for one in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)


def digest_of(job: Job) -> str:
    """A few digits that tell what a job asks for, wherever and however often it is run."""
    asked = {name: section for name, section in sections_of(job).items() if name not in _ELSEWHERE}
    asked["output"] = {key: value for key, value in asked["output"].items() if key != "overwrite"}
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
