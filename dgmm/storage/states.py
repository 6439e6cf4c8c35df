"""The table of everything that a checkpoint may hold: the format of states, field by field.

To store another class, add an entry: its fields in their order, each with its kind. A field that is
added to a class later needs a default, which files that were written before then get. K is the
number of components, d of features, q of a family's products, m of rows.
"""

from __future__ import annotations

from dgmm.fitting.driving import ManyRecords, Progress
from dgmm.fitting.em import FitState
from dgmm.fitting.hard_scanning import HardSets, HardState
from dgmm.fitting.progress import CandidateProgress, FitProgress, RandomNumbers, ScanProgress, SelectionProgress
from dgmm.fitting.scanning import BFRState
from dgmm.fitting.stopping import StopReason
from dgmm.mixture.defects import Defects
from dgmm.mixture.known import KnownMap, KnownRows
from dgmm.mixture.merging import PartialMerge
from dgmm.mixture.missing import Missing
from dgmm.mixture.moments import Moments, MomentsMap, Probe
from dgmm.mixture.parameters import Coordinates, MixtureParameters
from dgmm.mixture.retaining import RetainedRows
from dgmm.mixture.sampling import Candidates, RowSample
from dgmm.mixture.seeding import Distances
from dgmm.mixture.statistics import SufficientStatistics
from dgmm.mixture.summaries import Summaries
from dgmm.storage.kinds import (
    Enumeration,
    Fixed,
    Flag,
    Flags,
    Floats,
    Hashes,
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
    Text,
)

# Full, diagonal and spherical matrices, one for each component or for all: components always lead.
_COVARIANCES = (("K", "d", "d"), (1, "d", "d"), ("K", "d"), (1, "d"), ("K", 1), (1, 1))

PASS_RECORDS = (Moments, SufficientStatistics, Distances, ManyRecords)
"""What a map makes of the rows; that of several maps, which may be of several themselves."""

READ_RECORDS = (*PASS_RECORDS, ManyRecords)
"""What a read makes of them."""

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
        probes=Many(OneOf(Probe, shared="d")),
        missing=Maybe(OneOf(Missing, shared="d")),
        label_defects=OneOf(Defects),
        known=Maybe(OneOf(KnownRows, shared="d")),
    ),
    Record(
        Missing,
        counts=Integers(("d",)),
        n_dropped=Integer(),
        n_rows=Integer(),
        total_weight=Real(),
        weight=Floats(("d",)),
        mean=Floats(("d",)),
        scatter=Floats(("d",)),
        minimum=Floats(("d",)),
        maximum=Floats(("d",)),
        defects=OneOf(Defects),
    ),
    Record(
        KnownRows,
        family=Text(),
        n_rows=Integer(),
        weight=Floats(("K",)),
        mean=Floats(("K", "d")),
        scatter=Floats(("K", "q"), (1, "q")),
    ),
    Record(KnownMap, family=Text(), n_components=Integer(1)),
    Record(
        Probe,
        chunk=Integer(),
        n_rows=Integer(),
        weight=Real(),
        mean=Floats(("d",)),
        variance=Floats(("d",)),
        minimum=Floats(("d",)),
        maximum=Floats(("d",)),
        labels=Real(),
    ),
    Record(
        MomentsMap,
        seed=Integer(),
        sample_rows=Integer(),
        threshold=Integer(0, 2**64 - 1),
        probes=Many(Integer()),
        known=Maybe(OneOf(KnownMap)),
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
    # A read that is not finished: levels and records of the nodes of the tree of merges
    Record(PartialMerge, nodes=Many(Fixed(Integer(0, 62), OneOf(*READ_RECORDS)))),
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
    Record(
        RandomNumbers,
        keys=Hashes((624,)),
        position=Integer(0, 624),
        has_gauss=Integer(0, 1),
        cached_gaussian=Real(),
    ),
    Record(
        FitProgress,
        first=OneOf(MomentsMap),
        random_numbers=OneOf(RandomNumbers),
        n_reads=Integer(),
        moments=Maybe(OneOf(Moments)),
        em=Maybe(OneOf(FitState)),
        scan=Maybe(OneOf(ScanProgress)),
    ),
    Record(
        CandidateProgress,
        n_reads=Integer(),
        seconds=Real(),
        em=Maybe(OneOf(FitState)),
        behind=Maybe(Fixed(Real(), Real())),
    ),
    Record(
        SelectionProgress,
        begun=OneOf(FitProgress),
        n_reads=Integer(),
        n_held_out=Maybe(Integer()),
        screened=Flag(),
        candidates=Many(OneOf(CandidateProgress)),
    ),
    Record(Coordinates, shift=Floats(("d",)), scale=Floats(("d", "d"), ("d",))),
    Record(Summaries, weight=Floats(("s",)), first=Floats(("s", "d")), second=Floats(("s", "q"), (1, "q"))),
    Record(RetainedRows, rows=Numbers(("m", "d")), weights=Floats(("m",))),
    Record(
        BFRState,
        retained=OneOf(RetainedRows, shared="d"),
        parameters=Maybe(OneOf(MixtureParameters, shared="d")),
        coordinates=Maybe(OneOf(Coordinates, shared="d")),
        discard=Maybe(OneOf(Summaries, shared="d")),
        entropy=Real(),
        compressed=Maybe(OneOf(Summaries, shared="d")),
        exponent=_EXPONENT,
        n_rows=Integer(),
        n_remembered=Real(),
        n_rounds=Integer(),
        n_sweeps=Integer(),
        lower_bound=Maybe(Real()),
        settled=Flag(),
        n_strange=Integer(),
        n_moved=Integer(),
        sample=Maybe(OneOf(RowSample, shared="d")),
        n_checked=Integer(),
        n_renewed=Integer(),
    ),
    Record(
        HardSets,
        coordinates=OneOf(Coordinates, shared="d"),
        clusters=OneOf(MixtureParameters, shared="K d"),
        discard=OneOf(Summaries, shared="d"),
        compressed=OneOf(Summaries, shared="d"),
        exponent=_EXPONENT,
    ),
    Record(
        HardState,
        retained=OneOf(RetainedRows, shared="d"),
        sets=Maybe(OneOf(HardSets, shared="d")),
        n_rows=Integer(),
        weight=Real(),
        n_rounds=Integer(),
        n_moved=Integer(),
        n_unseen=Integer(),
    ),
    Record(
        ScanProgress,
        seed=Integer(),
        scan=OneOf(BFRState, HardState),
        chunk=Integer(),
        row=Integer(),
        lower_bounds=Many(Real()),
        first=Integer(),
        stop=Integer(),
        looks=Many(Fixed(Integer(), OneOf(Probe))),
        n_dropped=Integer(),
    ),
    # How far an algorithm has come: its state, what it was sent since, and the read under way
    Record(
        Progress,
        state=Maybe(OneOf(FitProgress, ScanProgress, SelectionProgress)),
        records=Many(OneOf(*READ_RECORDS)),
        partial=OneOf(PartialMerge),
    ),
)
"""The records and enumerations of checkpoints."""
