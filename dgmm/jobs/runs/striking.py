"""What may be secret in a job is struck out, in its values and in its text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import yaml

from dgmm.errors import redact
from dgmm.jobs.source import compose

_SECRET = r"[\w-]*(?:passw|passphrase|secret|token|credential|api_?key)[\w-]*"
_SECRET_KEY = re.compile(_SECRET, re.IGNORECASE)
_SECRET_VALUE = re.compile(rf"""(\b{_SECRET}["']?[ \t]*:[ \t]*)(?=[^\s#])[^,}}\]\n]+""", re.IGNORECASE)
_ENVIRONMENT = "environment"
"""A key that holds variables, of which any may be secret."""
_STRUCK = "***"


def struck(value: Any) -> Any:
    """A value with what may be secret in it struck out.

    Examples
    --------
    >>> struck({"password": "p", "address": "s3://me:x@bucket/a", "env": {"AWS_SECRET_ACCESS_KEY": "k"}})
    {'password': '***', 'address': 's3://***@bucket/a', 'env': {'AWS_SECRET_ACCESS_KEY': '***'}}
    """
    if isinstance(value, dict):
        return {
            key: dict.fromkeys(one, _STRUCK)
            if key == _ENVIRONMENT and isinstance(one, dict)
            else _STRUCK
            if _SECRET_KEY.fullmatch(str(key)) and one is not None
            else struck(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [struck(one) for one in value]
    return redact(value) if isinstance(value, str) else value


def struck_text(text: str) -> str:
    r"""A text in YAML with what may be secret in it struck out; in comments, what stands on one line with its key.

    Raises
    ------
    yaml.YAMLError
        If the text is no YAML.

    Examples
    --------
    >>> print(struck_text("user: me\npassword: |\n  two\n  lines\npath: s3://me:x@bucket/a  # a store\n"))
    user: me
    password: '***'
    path: "s3://***@bucket/a"  # a store
    <BLANKLINE>
    """
    node, pieces, end = compose(text), [], 0
    for start, stop, instead in _spans(node) if node is not None else ():
        pieces += [text[end:start], instead]
        end = start + len(text[start:stop].rstrip())
    text = _SECRET_VALUE.sub(rf"\1'{_STRUCK}'", "".join([*pieces, text[end:]]))
    return "\n".join(map(redact, text.split("\n")))


def _spans(node: yaml.Node, *, is_secret: bool = False) -> Iterator[tuple[int, int, str]]:
    """Where something secret stands in the text, and what takes its place, in order."""
    start, end = node.start_mark.index, node.end_mark.index
    if is_secret:
        if start < end:
            yield start, end, f"'{_STRUCK}'"
    elif isinstance(node, yaml.ScalarNode):
        if (clean := redact(node.value)) != node.value:
            yield start, end, json.dumps(clean)
    else:
        for one, is_secret_too in _inner(node):
            yield from _spans(one, is_secret=is_secret_too)


def _inner(node: yaml.Node) -> Iterator[tuple[yaml.Node, bool]]:
    """The nodes in a mapping or a sequence, and whether they are secret for their names."""
    if not isinstance(node, yaml.MappingNode):
        yield from ((one, False) for one in node.value)
        return
    for key, value in node.value:
        yield key, False
        if key.value == _ENVIRONMENT and isinstance(value, yaml.MappingNode):
            yield from ((variable, True) for _, variable in value.value)
        else:
            yield value, isinstance(key, yaml.ScalarNode) and _SECRET_KEY.fullmatch(key.value) is not None
