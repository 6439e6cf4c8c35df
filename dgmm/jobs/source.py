"""YAML text read into plain values, with the line on which each stands.

Only what a job file needs: mappings with words as keys, sequences, and scalars by the rules of YAML
1.2's core schema (so ``1e-3`` is a number and ``on`` is a word). Aliases, tags and duplicate keys are
refused, and so are files that are none (pipes, devices) or larger than :data:`MOST_BYTES`.
"""

from __future__ import annotations

import os
import re
import reprlib
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml

from dgmm.errors import JobError, redact

if TYPE_CHECKING:
    from pathlib import Path

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value stands: keys of mappings and indices of sequences, from the top."""

MOST_BYTES = 1_000_000
"""The largest file that is read."""

_MOST_PROBLEMS = 100
# Longer ones overflow where they become floats, or are refused by int() itself.
_MOST_DIGITS = 100

_SCALARS = {
    "tag:yaml.org,2002:null": (r"(?:~|null|Null|NULL|)", "~nN"),
    "tag:yaml.org,2002:bool": (r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    "tag:yaml.org,2002:int": (r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", "-+0123456789"),
    "tag:yaml.org,2002:float": (
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        "-+.0123456789",
    ),
}
_STRING = "tag:yaml.org,2002:str"
_MAPPING = "tag:yaml.org,2002:map"
_SEQUENCE = "tag:yaml.org,2002:seq"
_UNPRINTABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong in a file."""

    line: int
    """From 1; 0 where there is no file."""
    key: str
    """The key with its section, as ``model.n_components``; empty for the file as a whole."""
    text: str

    def render(self, file: str) -> str:
        """Return ``FILE:LINE: section.key: text``, or without the line if there is none."""
        key = f"{self.key}: " if self.key else ""
        place = f"{file}:{self.line}" if self.line else file
        return f"{place}: {key}{self.text}"


@dataclass(frozen=True)
class Source:
    """The values of a YAML file and where they stand."""

    file: str
    value: Any
    lines: dict[KeyPath, int]
    problems: tuple[Problem, ...]

    def line(self, path: KeyPath) -> int:
        """Return the line of a key, or that of the nearest mapping around it."""
        while path not in self.lines and path:
            path = path[:-1]
        return self.lines.get(path, 1)


def dotted(path: KeyPath) -> str:
    """Return a key path as a person writes it: ``model.means_init[2][0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def fail(file: str, problems: tuple[Problem, ...]) -> JobError:
    """Return the error that reports all problems of a file, one a line, in the order of lines."""
    ordered = sorted(dict.fromkeys(problems), key=lambda problem: problem.line)
    lines = [problem.render(file) for problem in ordered[:_MOST_PROBLEMS]]
    if len(ordered) > _MOST_PROBLEMS:
        lines.append(f"{file}: and {len(ordered) - _MOST_PROBLEMS} problems more")
    return JobError("\n".join(lines))


class _Quoting(reprlib.Repr):
    """Writes a value out for a message: short, without the credentials of URLs or what a mapping holds."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 60

    def repr_dict(self, x: dict[Any, Any], level: int) -> str:
        return "a mapping"

    def repr_str(self, x: str, level: int) -> str:
        # A shortened URL would no longer be known for one.
        return super().repr_str(redact(x), level)

    def repr_bool(self, x: bool, level: int) -> str:
        return str(x).lower()

    def repr_NoneType(self, x: None, level: int) -> str:  # noqa: N802
        return "nothing"


quote = _Quoting().repr
"""Return a value of a job file as messages show it."""


class _Loader(yaml.SafeLoader):
    """The safe loader with YAML 1.2's scalars and no aliases."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            text = "aliases (*name) are not used in job files; write the value out"
            raise yaml.composer.ComposerError(None, None, text, mark)
        return super().compose_node(parent, index)


for _tag, (_pattern, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^{_pattern}\Z"), [*_first, ""])


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for somebody who writes to a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: Path) -> str:
    """Read a small text file.

    Raises
    ------
    JobError
        If it cannot be read, is no regular file, is larger than :data:`MOST_BYTES` or is not UTF-8.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise JobError(f"{path}: this is a folder, a pipe or a device; expected a YAML file")
            content = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise JobError(f"{path}: there is no such file") from None
    except IsADirectoryError:
        raise JobError(f"{path}: this is a folder; expected a YAML file") from None
    except OSError as error:
        raise JobError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        if isinstance(error, JobError):
            raise
        raise JobError(f"{path}: cannot be read: {error}") from error
    if len(content) > MOST_BYTES:
        raise JobError(f"{path}: larger than {MOST_BYTES:,} bytes; expected a YAML file")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JobError(f"{path}: not UTF-8 text (byte {error.start} is invalid)") from error


def parse(text: str, file: str) -> Source:
    r"""Read YAML text.

    Parameters
    ----------
    text : str
        One YAML document.
    file : str
        Name of the file, for messages.

    Raises
    ------
    JobError
        If the text is not YAML, or uses aliases, or nests too deeply.

    Examples
    --------
    >>> source = parse("model:\n  tol: 1e-4\n", "job.yaml")
    >>> source.value, source.line(("model", "tol"))
    ({'model': {'tol': 0.0001}}, 2)
    """
    try:
        node = compose(text)
        walk = _Walk()
        value = None if node is None else walk.value(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = 1 if mark is None else mark.line + 1
        raise fail(file, (Problem(line, "", f"not valid YAML: {error.problem or error.context}"),)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        found = f"not valid YAML: the character {chr(error.character)!r} is not allowed"
        raise fail(file, (Problem(line, "", found),)) from error
    except RecursionError:
        raise fail(file, (Problem(1, "", "nested too deeply"),)) from None
    except (yaml.YAMLError, ValueError) as error:
        # PyYAML's scanner lets int() and chr() fail on malformed escapes and directives.
        raise fail(file, (Problem(1, "", f"not valid YAML: {error}"),)) from error
    return Source(file, value, walk.lines, tuple(walk.problems))


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text, which know where they stand; raises as the YAML package does."""
    loader = _Loader(text)
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


class _Walk:
    """Turns a node tree into values, collecting lines and problems."""

    def __init__(self) -> None:
        self.lines: dict[KeyPath, int] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode) and node.tag == _MAPPING:
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQUENCE:
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and (node.tag == _STRING or node.tag in _SCALARS):
            return self._scalar(node, path, line)
        self._report(line, path, f"the tag {node.tag!r} is not used in job files; remove it")
        return None

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value
            if not isinstance(key, str) or key_node.tag != _STRING or _UNPRINTABLE.search(key):
                self._report(line, path, "a key must be a plain word")
                continue
            if key in result:
                first = self.lines[(*path, key)]
                self._report(line, (*path, key), f"this key stands on line {first} already; keep one of the two")
                continue
            self.lines[(*path, key)] = line
            result[key] = self.value(value_node, (*path, key))
        return result

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath, line: int) -> Any:
        text = node.value
        try:
            match node.tag.rpartition(":")[2]:
                case "null":
                    return None
                case "bool":
                    return {"true": True, "false": False}[text.lower()]
                case "int" | "float" if len(text) > _MOST_DIGITS:
                    raise ValueError
                case "int":
                    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
                case "float":
                    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except (ValueError, KeyError):
            self._report(line, path, f"{quote(text)} is not a number or truth value that can be read")
            return None
        if _UNPRINTABLE.search(text):
            self._report(line, path, "the text holds characters that cannot be printed")
            return None
        return text

    def _report(self, line: int, path: KeyPath, text: str) -> None:
        self.problems.append(Problem(line, dotted(path), text))
