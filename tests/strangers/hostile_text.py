"""Job and cluster files that a stranger might hand over, by name; and what may lie where one should."""

from __future__ import annotations

import os

GOOD_JOB = "input: {path: x.npy}\nmodel: {n_components: 2}\noutput: {model: m.zarr}\n"

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

YAML = {
    "python object": "input: !!python/object/apply:os.mkdir [CANARY]\n",
    "python name": "input: !!python/name:os.system\n",
    "python module": "!!python/module:os\n",
    "python new": "!!python/object/new:os.mkdir [CANARY]\n",
    "own tag": "input: !tag {path: x}\n",
    "verbatim tag": "input: !<tag:yaml.org,2002:python/object/apply:os.mkdir> [CANARY]\n",
    "tag by a directive": "%TAG ! tag:yaml.org,2002:python/\n---\n!object/apply:os.mkdir [CANARY]\n",
    "binary": "input: {path: !!binary aGVsbG8=}\n",
    "set": "input: !!set {a, b}\n",
    "timestamp": "input: {path: !!timestamp 2001-12-14}\n",
    "billion laughs": LAUGHS,
    "alias of itself": "input: &a [*a]\n",
    "merge key": "base: &b {path: x}\ninput: {<<: *b}\n",
    "merge key, plain": "input: {<<: {path: x}}\nmodel: {n_components: 2}\noutput: {model: m}\n",
    "deep lists": "[" * 100_000,
    "deep mappings": "{a: " * 100_000,
    "deep blocks": "".join(" " * i + "a:\n" for i in range(1200)),
    "deep sequences": "- " * 50_000,
    "huge whole number": GOOD_JOB.replace("2", "9" * 100_000),
    "huge hexadecimal number": GOOD_JOB.replace("2", "0x" + "f" * 100_000),
    "huge tol": GOOD_JOB.replace("2", "2, tol: 1" + "0" * 400),
    "huge exponent": GOOD_JOB.replace("2", "2, tol: 1e400"),
    "long digits of tol": GOOD_JOB.replace("2", "2, reg_covar: 0x" + "f" * 400),
    "nul": "input: {path: 'x\0y'}\n",
    "escaped nul": GOOD_JOB.replace("x.npy", '"x\\0y"'),
    "terminal codes": GOOD_JOB.replace("x.npy", '"x\\e[2J"') + '"\\e[2J": 1\n',
    "utf-16": GOOD_JOB.encode("utf-16"),
    "utf-16 without mark": GOOD_JOB.encode("utf-16-le"),
    "no text": bytes(range(256)) * 10,
    "duplicate key": GOOD_JOB + "input: {path: other}\n",
    "list as key": "? [a, b]\n: c\n",
    "mapping as key": "? {a: b}\n: c\n",
    "two documents": GOOD_JOB + "---\n" + GOOD_JOB,
    "50 MB of text": b"input: {path: '" + b"x" * 50_000_000 + b"'}\n",
    "sixty thousand numbers": "input: {path: [" + "1," * 60_000 + "]}\n",
    "many wrong numbers": GOOD_JOB.replace("2", "2, means_init: [[" + "x," * 5_000 + "]]"),
    "many keys": GOOD_JOB + "".join(f"k{i}: {i}\n" for i in range(20_000)),
    "control characters": "input: \x07\x1b[2J\n",
    "path into the devices": GOOD_JOB.replace("x.npy", "/dev/zero") + "x: 1\n",
}

PLACES = {
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "link to itself": lambda path: path.symlink_to(path),
    "hole of a terabyte": lambda path: path.touch() or os.truncate(path, 2**40),
}
