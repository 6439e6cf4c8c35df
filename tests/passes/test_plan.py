"""The plan: a function of shapes that says which kernel runs."""

import pytest
from cases import families

from dgmm.mixture.families import get_family
from dgmm.mixture.native import BLOCK
from dgmm.passes.plan import ExecutionPlan


@families
@pytest.mark.parametrize(("k", "d"), [(1, 1), (3, 2), (16, 128), (1024, 16)])
def test_the_backend_travels_from_the_plan_to_the_kernel(family, k, d) -> None:
    plan = ExecutionPlan.choose(family, k, d)
    assert plan.backend == "numba"
    assert plan.options.backend == plan.backend
    assert plan.options.tolerance == plan.tolerance
    assert plan.chunk_rows % plan.block_rows == 0
    assert plan.chunk_rows % BLOCK == 0


def test_a_recorded_plan_keeps_its_backend() -> None:
    recorded = ExecutionPlan.choose(get_family("full"), 3, 2).to_dict() | {"backend": "numpy"}
    assert ExecutionPlan.from_dict(recorded).options.backend == "numpy"
