"""Manifests held to the schemas of Kubernetes and of the Dask operator, where a key that is unknown is an error."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate import utils

VERSION = "1.37"
# Else megabytes of definitions are read again for each manifest.
utils.schema_contents = cache(utils.schema_contents)
CRDS = files("dask_kubernetes") / "operator" / "deployment" / "helm" / "dask-kubernetes-operator" / "crds"


def check(manifest: dict) -> None:
    """Raise jsonschema.ValidationError if a manifest is not exactly what its kind allows."""
    if manifest["apiVersion"].startswith("kubernetes.dask.org/"):
        jsonschema.Draft202012Validator(_strict_crd(manifest["kind"])).validate(manifest)
        for spec in _pods(manifest):
            # Of today's Kubernetes, which knows more keys than the operator's own schema.
            check({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec})
        for service in _found(manifest, "service"):
            check({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}, "spec": service})
    else:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


@cache
def _strict_crd(kind: str) -> dict:
    text = (CRDS / f"{kind.lower()}.yaml").read_text()
    crd = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    # What Kubernetes itself takes beside the spec of a resource.
    schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"const": kind}, "metadata": _metadata()}
    return _strict(schema)


def _metadata() -> dict:
    return {"type": "object", "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}}}


def _strict(schema):
    if isinstance(schema, list):
        return [_strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        closed["additionalProperties"] = False
    if schema.get("x-kubernetes-int-or-string"):
        closed.pop("type", None)
    return closed


def _found(value, key):
    if isinstance(value, dict):
        if key in value and isinstance(value[key], dict):
            yield value[key]
        for each in value.values():
            yield from _found(each, key)


def _pods(manifest):
    return [spec for spec in _found(manifest, "spec") if "containers" in spec]
