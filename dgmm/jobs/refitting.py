"""A refit from its beginning to its end: the current model, rows that are known already, a decision that is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dgmm.errors import CheckpointMismatchError
from dgmm.estimators.gaussian_mixture import GaussianMixture
from dgmm.estimators.matching import match
from dgmm.jobs.refit import RARE, Comparison, Level, reasons
from dgmm.storage.versions import Versions

if TYPE_CHECKING:
    from dgmm.inputs.table import Table
    from dgmm.jobs.loading import Job
    from dgmm.jobs.models import RefitSection
    from dgmm.jobs.progress import Reporter
    from dgmm.mixture.scores import Score
    from dgmm.storage.checkpoint import Checkpoint


def versions_of(job: Job) -> Versions:
    """Where the models of a refit lie."""
    return Versions(Path(str(job.output.model)))


@dataclass
class Refit:
    """A refit that runs.

    Attributes
    ----------
    section : RefitSection
    versions : Versions
    parameters : dict
        Of the new fit.
    last : GaussianMixture or None
        The current model; None before the first fit.
    note : dict
        Of the refit before.
    decided : bool
        Whether it is known which model is the current one for these rows.
    """

    section: RefitSection
    versions: Versions
    parameters: dict[str, Any]
    last: GaussianMixture | None
    note: dict[str, Any]
    decided: bool = False
    _under_last: Score | None = field(default=None, init=False)

    @classmethod
    def begin(cls, job: Job, told: Reporter) -> Refit:
        """Open the current model, after what a killed refit had begun is ended.

        Raises
        ------
        FormatError
            If the model is none of EM's, or cannot be read.
        """
        if job.refit is None:
            raise AssertionError("the job is no refit")
        versions = versions_of(job)
        note = versions.recover() or {}
        current, last = versions.current, None
        if current is None:
            told.step("there is no model yet: that of the first fit becomes the current one")
        else:
            told.step(f"reading the current model, {current.name}")
            last = GaussianMixture.load(current).set_params(missing=job.model.missing)  # type: ignore[union-attr]
        return cls(job.refit, versions, job.model.model_dump(mode="json", exclude={"kind"}), last, note)

    @property
    def settled(self) -> bool:
        """Whether the refit before wrote all that it had to."""
        return bool(self.note.get("done"))

    def look(self, table: Table, told: Reporter, *, anew: bool = False) -> dict[str, Any] | None:
        """Score the rows with the current model.

        Returns
        -------
        dict or None
            The report of the refit that saw these rows; None if they are new, or are to be compared anew.
        """
        if self.last is None:
            return None
        told.step("scoring the rows with the current model")
        self._under_last = self.last._score(table, None, rare_below=self.last._rare_below(RARE))
        current = self.versions.current
        if current is not None and self.note.get("current") == current.name:
            same = self.note.get("rows") == _identity(self._under_last) and self.note.get("asked") == self._asked()
            if same and not anew and isinstance(self.note.get("report"), dict):
                self.decided = True
                return dict(self.note["report"])
            if not self.settled and "report" in self.note:
                told.step("the run before was ended while it wrote its outputs; what it decided stands")
        if not self.settled:
            self.settle()
        return None

    def _asked(self) -> dict[str, Any]:
        """What the decision depends on beside the rows and the current model."""
        return {"model": self.parameters, "refit": self.section.model_dump(mode="json", exclude={"keep"})}

    def candidate(self) -> GaussianMixture | None:
        """The model that was fitted to the rows and has not become the current one, as long as it is there."""
        return GaussianMixture.load(self.versions.next) if self.versions.next.exists() else None

    def fit(
        self, fit: Callable[[GaussianMixture, Checkpoint | None], object], checkpoint: Checkpoint | None, told: Reporter
    ) -> GaussianMixture:
        """Fit the new model, from the current one on, and number its components as that does."""
        model = self._begun()
        if self.last is None or self._under_last is None:
            fit(model, checkpoint)
            return model
        if checkpoint is not None:
            begun = {"model": str(self.versions.current), "rows": _identity(self._under_last)}
            checkpoint = replace(checkpoint, source={**checkpoint.source, "refit": begun})
        try:
            fit(model, checkpoint)
        except CheckpointMismatchError:
            if checkpoint is None or checkpoint.resume != "auto":
                raise
            told.step("what is kept is the progress of another refit: this one begins anew")
            model = self._begun()
            fit(model, replace(checkpoint, resume="never"))
        model.set_params(warm_start=False)
        return match(self.last, model).renumber(model)

    def _begun(self) -> GaussianMixture:
        current = self.versions.current
        if current is None:
            return GaussianMixture(**self.parameters)
        return GaussianMixture.load(current).set_params(**self.parameters, warm_start=True)

    def decide(self, new: GaussianMixture, report: dict[str, Any], told: Reporter) -> GaussianMixture:
        """Decide which model is the current one from here on, make it so, and add to the report why; returns it."""
        found: dict[str, Any] = {"promoted": True, "reasons": []}
        own = Level(report["mean_log_likelihood"], report["total_weight"])
        level, under = own, {name: report[name] for name in _IDENTITY}
        current = self.last
        if current is not None and self._under_last is not None:
            level = Level.of(current, self.note.get("level") if self._is_noted() else None)
            compared = Comparison.of(current, level, new, self._under_last, own)
            why = reasons(compared, self.section)
            found = {"promoted": not why, "reasons": why, **compared.report(self.section)}
            if why:
                under = _identity(self._under_last)
            else:
                level = own
        before = self.versions.current
        name = self.versions.name_for(promoted=found["promoted"])
        report["refit"] = found | {"model": name, "before": None if before is None else before.name}
        new.save(self.versions.next, overwrite=True)
        note = {"rows": under, "asked": self._asked(), "level": level.noted(), "report": report}
        # What was written before is still its own; what this decision leads to is not written yet.
        self.versions.decide(name, {**note, "outputs": self.note.get("outputs"), "digest": ""})
        self.decided = True
        told.step(refit_in_words(report["refit"]))
        if found["promoted"] or current is None:
            self.last = new
            return new
        return current

    def _is_noted(self) -> bool:
        current = self.versions.current
        return current is not None and self.note.get("current") == current.name and "level" in self.note

    def settle(self) -> None:
        """Note that all is written, and remove models that are too old."""
        self.versions.settle(self.section.keep)


_IDENTITY = ("n_rows", "total_weight", "log_likelihood")


def _identity(score: Score) -> dict[str, Any]:
    """What rows are known again by: to the last bit, how likely they are."""
    return {name: getattr(score, name) for name in _IDENTITY}


def refit_in_words(refit: Mapping[str, Any]) -> str:
    """What became of a refit, in a sentence."""
    if refit["before"] is None:
        return f"the first model, {refit['model']}, is the current one"
    if not refit["promoted"]:
        return f"the model before, {refit['model']}, is kept: {'; '.join(refit['reasons'])}"
    return (
        f"the new model, {refit['model']}, takes the place of {refit['before']}: "
        f"better by {refit['gain']:.3g} nats per row ({refit['gain_needed']:.3g} needed)"
    )
