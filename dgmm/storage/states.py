"""The table of everything that a checkpoint may hold: the format of states, field by field.

To store another class, add an entry: its fields in their order, each with its kind. A field that is
added to a class later needs a default, which files that were written before then get. K is the
number of components, d of features, q of a family's products, m of rows.
"""

from __future__ import annotations

from dgmm.fitting.driving import ManyRecords
from dgmm.fitting.em import FitState
from dgmm.fitting.stopping import StopReason
from dgmm.mixture.moments import Defects, Moments
from dgmm.mixture.parameters import MixtureParameters
from dgmm.mixture.sampling import Candidates, RowSample
from dgmm.mixture.seeding import Distances
from dgmm.mixture.statistics import SufficientStatistics
from dgmm.storage.kinds import (
    Enumeration,
    Flags,
    Floats,
    Integer,
    Integers,
    Keys,
    Many,
    Maybe,
    Numbers,
    OneOf,
    Real,
    Record,
    Schemas,
)

# full, tied, diag and spherical: components always lead.
_COVARIANCES = (("K", "d", "d"), (1, "d", "d"), ("K", "d"), ("K", 1))

PASS_RECORDS = (Moments, SufficientStatistics, Distances, ManyRecords)
"""What a map makes of the rows; that of several maps, which may be of several themselves."""

# Powers of two that floats have.
_EXPONENT = Integer(-2000, 2000)

STATES = Schemas(
    # The mixture
    Record(
        MixtureParameters,
        weights=Floats(("K",)),
        means=Floats(("K", "d")),
        covariances=Floats(*_COVARIANCES, like="covariances"),
        precisions_cholesky=Floats(*_COVARIANCES, like="covariances"),
    ),
    # What passes sum up
    Record(
        SufficientStatistics,
        reference=Floats(("K", "d")),
        weight=Floats(("K",)),
        first=Floats(("K", "d")),
        second=Floats(("K", "q"), (1, "q")),
        log_likelihood=Real(),
        total_weight=Real(),
        n_rows=Integer(),
    ),
    Record(
        Moments,
        lengths=Integers(("c",)),
        exponent=_EXPONENT,
        n_positive=Integer(),
        weight=Real(),
        mean=Floats(("d",)),
        scatter=Floats(("d", "d")),
        minimum=Floats(("d",)),
        maximum=Floats(("d",)),
        defects=OneOf(Defects),
        weight_defects=OneOf(Defects),
        candidates=OneOf(Candidates, shared="d"),
    ),
    Record(Defects, count=Integer(), chunk=Integer(-1), row=Integer(-1), feature=Integer(-1), value=Real()),
    Record(Candidates, size=Integer(), parts=Many(OneOf(RowSample, shared="d"), least=1)),
    Record(
        RowSample,
        size=Integer(),
        keys=Keys(("m",)),
        rows=Numbers(("m", "d")),
        weights=Floats(("m",)),
    ),
    Record(Distances, cost=Real(), counts=Floats(("m",)), drawn=OneOf(Candidates)),
    Record(ManyRecords, records=Many(OneOf(*PASS_RECORDS), least=1)),
    # Where a fit is
    Enumeration(StopReason),
    Record(
        FitState,
        parameters=OneOf(MixtureParameters, shared="K d"),
        lower_bounds=Many(Real()),
        reseeded=Flags(("K",)),
        dead=Flags(("K",)),
        settled_since=Integer(),
        reason=Maybe(OneOf(StopReason)),
        safe=Maybe(OneOf(MixtureParameters, shared="K d")),
        n_steps=Integer(),
        reach=Maybe(Integer()),
        n_rejected=Integer(),
        gap=Maybe(Real()),
    ),
)
"""The records and enumerations of checkpoints."""
