"""The layers import one way, files stay small, and the README and CI run the same commands."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "dgmm"

# Each layer may import from itself and from those above it in this list.
LAYERS = (
    ("errors", "typing", "rules", "_version"),
    ("mixture",),
    ("signals",),
    ("fitting",),
    ("storage",),
    ("passes",),
    ("inputs",),
    ("viz",),
    ("estimators",),
    ("jobs",),
    ("cli",),
    ("__init__", "__main__"),
)

OPTIONAL_STORES = ("obstore", "pyarrow", "netCDF4", "rasterio", "rioxarray")

# What a layer may import from outside besides the standard library.
OUTSIDE = {
    "errors": {"sklearn"},
    "rules": {"numpy"},
    "typing": {"numpy"},
    "_version": set(),
    "mixture": {"numpy", "scipy", "sklearn", "threadpoolctl", "numba", "llvmlite"},
    "signals": {"numpy", "scipy", "numba"},
    "fitting": {"numpy"},
    "storage": {
        "numpy",
        "xarray",
        "zarr",
        "dask",
        "google_crc32c",
        "obstore",
        "pyarrow",
        "netCDF4",
        "rasterio",
        "rioxarray",
    },
    "passes": {"numpy", "scipy", "dask", "threadpoolctl", "distributed", "psutil"},
    "inputs": {"numpy", "dask", "xarray", "zarr", "pandas"},
    "viz": {"numpy", "matplotlib", "PIL"},
    "estimators": {"numpy", "dask", "sklearn", "xarray", "matplotlib"},
}
STANDARD = __import__("sys").stdlib_module_names

MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))


def layer_of(module: str) -> str:
    return module.split(".")[0] or "__init__"


def rank(layer: str) -> int:
    return next(i for i, names in enumerate(LAYERS) if layer in names)


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse((PACKAGE / path).read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found.append(node.module or "")
    return found


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_go_one_way(path: Path) -> None:
    own = layer_of(path.parts[0].removesuffix(".py"))
    for name in imports(path):
        if name == "dgmm" or name.startswith("dgmm."):
            other = layer_of(name.removeprefix("dgmm").removeprefix("."))
            assert rank(other) <= rank(own), f"{path} (layer {own}) imports {name} (layer {other})"
            assert other != "__init__" or own in ("__init__", "__main__"), f"{path} imports the package itself"
        elif own in OUTSIDE:
            top = name.split(".")[0]
            assert top in STANDARD or top in OUTSIDE[own], f"{path} (layer {own}) imports {name}"


def module_graph() -> dict[str, set[str]]:
    names = {".".join(("dgmm", *path.with_suffix("").parts)).removesuffix(".__init__"): path for path in MODULES}
    return {
        module: {name for name in imports(path) if name in names and name != module} for module, path in names.items()
    }


def test_there_is_no_import_cycle() -> None:
    graph = module_graph()
    done: set[str] = set()
    while left := {module for module in graph if module not in done}:
        ready = {module for module in left if graph[module] <= done}
        assert ready, f"a cycle among {sorted(left)}"
        done |= ready


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_imports_stand_at_the_top(path: Path) -> None:
    tree = ast.parse((PACKAGE / path).read_text())
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for node in ast.walk(function):
                if isinstance(node, ast.Import | ast.ImportFrom):
                    optional = (
                        "matplotlib",
                        "PIL",
                        "obstore",
                        "pyarrow",
                        "dask.dataframe",
                        "netCDF4",
                        "rasterio",
                        "rioxarray",
                        "asyncssh",
                        "aiohttp",
                        "dask_jobqueue",
                        "dask_gateway",
                        "dask_cloudprovider",
                        "prefect",
                        "kr8s",
                        "httpx",
                    )
                    names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                    assert all(f"{name}.".startswith(tuple(f"{o}." for o in optional)) for name in names), (
                        f"{path}:{node.lineno}: {function.name} imports {names}"
                    )


@pytest.mark.parametrize("folder", ["dgmm", "tests", "benchmarks"])
def test_files_stay_small(folder: str) -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 420
    }
    assert not long


def test_no_code_is_loaded_from_files() -> None:
    unsafe = re.compile(r"\bimport (pickle|marshal|shelve|dill|cloudpickle)\b|\beval\(|\bexec\(|yaml\.(unsafe_)?load\(")
    found = [f"{path}: {match[0]}" for path in MODULES if (match := unsafe.search((PACKAGE / path).read_text()))]
    assert not found


def readme_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [block.strip() for block in blocks if "venv" in block]


def test_ci_runs_the_commands_of_the_readme() -> None:
    commands = readme_commands()
    assert len(commands) == 2
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    for command in commands:
        assert "\n" not in command
        assert command in lines
    assert "dgmm run workflows/quickstart.yaml" in commands[0]
    assert commands[1].endswith("-m pytest -n 2 --dist loadfile")


def test_public_names_exist() -> None:
    import dgmm

    for name in dgmm.__all__:
        assert getattr(dgmm, name) is not None
    assert (PACKAGE / "py.typed").exists()
