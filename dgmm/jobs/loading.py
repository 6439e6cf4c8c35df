"""Job and cluster files: read, checked, every problem reported with its line."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic.fields import FieldInfo

from dgmm.jobs.clusters.sections import ClusterSection
from dgmm.jobs.models import AnyModel, RefitSection
from dgmm.jobs.preprocess import AnyPreprocess
from dgmm.jobs.sections import MisplacedKeyError
from dgmm.jobs.source import KeyPath, Problem, Source, dotted, fail, parse, quote, read_text
from dgmm.jobs.specification import (
    NONE,
    CheckpointSection,
    ClusterFile,
    ImageInput,
    JobFile,
    OutputSection,
    PathInput,
    PredictionFile,
    RunSection,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_File = TypeVar("_File", JobFile, ClusterFile, PredictionFile)


@dataclass(frozen=True)
class Job:
    """A checked job file; all paths in it are resolved."""

    file: str
    input: PathInput | ImageInput
    preprocess: AnyPreprocess
    model: AnyModel
    output: OutputSection
    cluster: ClusterSection
    checkpoint: CheckpointSection | None
    refit: RefitSection | None
    run: RunSection
    source: Source

    @property
    def kind(self) -> str:
        """What is done: the kind of the model, or "refit"."""
        return self.model.kind if self.refit is None else "refit"

    @property
    def keeps_no_progress(self) -> bool:
        """Whether the file says that no progress is kept."""
        return isinstance(self.source.value, dict) and self.source.value.get("checkpoint") == NONE

    def problem(self, path: KeyPath, text: str) -> Problem:
        """Return a problem with one of the job's keys, with its line."""
        return Problem(self.source.line(path), dotted(path), text)


def load_job(path: str | Path, *, cluster: ClusterSection | None = None, secrets: bool = True) -> Job:
    """Read and check a job file.

    Parameters
    ----------
    path : path
        A YAML file. Paths in it are taken from its folder.
    cluster : ClusterSection, optional
        From :func:`load_cluster`: takes the place of the file's own section.
    secrets : bool, default=True
        Whether passwords are taken from the environment; a job that is checked here and runs elsewhere needs none.

    Raises
    ------
    JobError
        If the file cannot be read or anything in it is wrong. The message has one line for each
        problem: ``FILE:LINE: section.key: what was found; what is allowed``.
    """
    path = Path(path)
    job = _job(parse(read_text(path), str(path)), path.absolute().parent, secrets=secrets)
    return job if cluster is None else replace(job, cluster=cluster)


def parse_job(text: str, file: str, folder: Path) -> Job:
    r"""Check the text of a job file; ``file`` is its name in messages, ``folder`` resolves its paths.

    Raises
    ------
    JobError
        As :func:`load_job`.

    Examples
    --------
    >>> from pathlib import Path
    >>> text = "input: {path: x.npy}\nmodel: {n_components: 0}\noutput: {model: m.zarr}"
    >>> parse_job(text, "job.yaml", Path())
    Traceback (most recent call last):
        ...
    dgmm.errors.JobError: job.yaml:2: model.n_components: found 0; allowed: a whole number of at least 1
    """
    return _job(parse(text, file), folder)


def make_job(sections: dict[str, Any], folder: Path, *, name: str, cluster: ClusterSection | None = None) -> Job:
    """Check a job that is given as values instead of a file; ``name`` stands for the file's.

    Raises
    ------
    JobError
        As :func:`load_job`, without lines.
    """
    job = _job(Source(name, sections, {(): 0}, ()), folder)
    return job if cluster is None else replace(job, cluster=cluster)


def make_prediction(
    source: dict[str, Any], output: dict[str, Any], folder: Path, *, name: str
) -> tuple[PathInput, OutputSection]:
    """Check the sections ``input`` and ``output`` of a prediction that is given as values.

    Raises
    ------
    JobError
        As :func:`load_job`, without lines.
    """
    sections = {"input": source, "output": output}
    checked = _validate(PredictionFile, Source(name, sections, {(): 0}, ()), sections, folder)
    return cast("PathInput", checked.input), checked.output


def _job(source: Source, folder: Path, *, secrets: bool = True) -> Job:
    checked = _validate(JobFile, source, source.value, folder, secrets=secrets)
    return Job(
        file=source.file,
        input=checked.input,
        preprocess=checked.preprocess,
        model=checked.model,
        output=checked.output,
        cluster=checked.cluster,
        checkpoint=checked.checkpoint,
        run=checked.run,
        refit=checked.refit,
        source=source,
    )


def load_cluster(path: str | Path, *, secrets: bool = True) -> ClusterSection:
    """Read and check a cluster file: the content of a job's ``cluster`` section; ``secrets`` as for :func:`load_job`.

    Raises
    ------
    JobError
        As :func:`load_job`.
    """
    path = Path(path)
    return _cluster(parse(read_text(path), str(path)), path.absolute().parent, secrets=secrets)


def make_cluster(section: Mapping[str, Any], folder: Path) -> ClusterSection:
    """Check a cluster that is given as values; ``folder`` resolves its paths.

    Raises
    ------
    JobError
        As :func:`load_job`, without lines.
    """
    return _cluster(Source("cluster", dict(section), {(): 0}, ()), folder)


def _cluster(source: Source, folder: Path, *, secrets: bool = True) -> ClusterSection:
    lines = {("cluster", *key): line for key, line in source.lines.items()}
    nested = Source(source.file, {"cluster": source.value}, lines, source.problems)
    return _validate(ClusterFile, nested, nested.value, folder, secrets=secrets).cluster


def _validate(model: type[_File], source: Source, value: Any, folder: Path, *, secrets: bool = True) -> _File:
    problems = list(source.problems)
    if isinstance(value, dict):
        # An empty section is one that was left out.
        value = {key: section for key, section in value.items() if section is not None}
    try:
        checked = model.model_validate({} if value is None else value, context={"folder": folder, "secrets": secrets})
    except ValidationError as error:
        reported = {problem.key for problem in problems}
        found = _problems(model, source, error)
        problems += [problem for problem in found if problem.key not in reported or not problem.key]
        raise fail(source.file, tuple(problems)) from None
    if problems:
        raise fail(source.file, tuple(problems))
    return checked


def _problems(model: type[BaseModel], source: Source, error: ValidationError) -> Iterator[Problem]:
    for item in error.errors(include_url=False):
        kind = item["type"]
        cause = item.get("ctx", {}).get("error")
        path = cause.path if isinstance(cause, MisplacedKeyError) else _plain_path(item["loc"], source)
        if kind.startswith("union_tag"):
            path = (*path, "kind")
        owner, field = _locate(model, path, source)
        text = _describe(item, path, owner, field, source)
        shown = path[1:] if model is ClusterFile else path
        yield Problem(source.line(path), dotted(shown), text)


def _plain_path(location: tuple[int | str, ...], source: Source) -> KeyPath:
    """Drop what pydantic adds to a location: the names of union members."""
    path: KeyPath = ()
    value = source.value
    tagged = location[0] in ("input", "preprocess", "model", "cluster") if location else False
    for position, part in enumerate(location):
        if tagged and position == 1:
            continue
        if isinstance(value, dict):
            path, value = (*path, part), value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            path, value = (*path, part), value[part]
        else:
            break
    return path


def _describe(item: Any, path: KeyPath, owner: type[BaseModel] | None, field: FieldInfo | None, source: Source) -> str:
    kind, cause = item["type"], item.get("ctx", {}).get("error")
    if kind == "extra_forbidden" and owner is not None:
        if owner is ImageInput and path[-1] == "path":
            return "give path or image, not both"
        names = [*owner.model_fields, *(["image"] if owner is PathInput else [])]
        return f"unknown key; allowed: {', '.join(names)}{_suggest(path[-1], names) or _other_kinds(owner, path[-1])}"
    if kind == "missing" and owner is PathInput:
        return "missing; give path (an array) or image (a picture)"
    if isinstance(cause, MisplacedKeyError) or (cause is not None and isinstance(_value(source, path), dict)):
        return str(cause)
    allowed = "sections " + ", ".join(JobFile.model_fields) if field is None else str(field.description)
    if field is not None and field.annotation is not None:
        choices = _choices(field.annotation)
        if path[-1] == "kind":
            allowed = ", ".join(choices)
    else:
        choices = []
    if kind == "missing" or (kind.startswith("union_tag") and _value(source, path) is None):
        return f"missing; expected {allowed}"
    found = _value(source, path)
    reason = f" ({cause})" if cause is not None else ""
    shown = "a text" if field is not None and _is_secret(field.annotation) else quote(found)
    return f"found {shown}{reason}; allowed: {allowed}{_suggest(found, choices)}"


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_is_secret(part) for part in get_args(annotation))


def _value(source: Source, path: KeyPath) -> Any:
    value = source.value
    for part in path:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
        else:
            return None
    return value


def _suggest(found: Any, choices: list[str]) -> str:
    near = difflib.get_close_matches(str(found), choices, n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near and found != near[0] else ""


def _other_kinds(owner: type[BaseModel], key: Any) -> str:
    """Which other kinds of a section have a key."""
    for section in JobFile.model_fields.values():
        members = _members(section.annotation) or [m for part in section.metadata for m in _members(part)]
        if owner in members and "kind" in owner.model_fields:
            kinds = [_choices(m.model_fields["kind"].annotation) for m in members if key in m.model_fields]
            return f"; of kind {' or '.join(kind[0] for kind in kinds)}" if kinds else ""
    return ""


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [choice for choice in get_args(annotation) if isinstance(choice, str)]
    return [choice for part in get_args(annotation) for choice in _choices(part)]


def _members(annotation: Any) -> list[type[BaseModel]]:
    """Return the section models that an annotation allows."""
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [member for part in get_args(annotation) for member in _members(part)]
    return [annotation] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def _locate(model: type[BaseModel], path: KeyPath, source: Source) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """Return the model that holds the last key of ``path``, and the field that describes it."""
    owner, field = model, None
    for depth, part in enumerate(path):
        members = [model] if depth == 0 else _members(field.annotation) if field is not None else []
        if not members:
            return owner, field
        owner = members[0]
        if len(members) > 1:
            owner = _member(members, _value(source, path[:depth]))
        if part == "kind" and "kind" in members[0].model_fields and len(members) > 1:
            kinds = tuple(choice for m in members for choice in _choices(m.model_fields["kind"].annotation))
            return owner, FieldInfo(annotation=Literal[kinds], description="")  # type: ignore[arg-type]
        field = owner.model_fields.get(str(part))
    return owner, field


def _member(members: list[type[BaseModel]], value: Any) -> type[BaseModel]:
    keys = value if isinstance(value, dict) else {}
    if "kind" in members[0].model_fields:
        kind = keys.get("kind")
        return next((m for m in members if kind in _choices(m.model_fields["kind"].annotation)), members[0])
    return ImageInput if "image" in keys else PathInput
