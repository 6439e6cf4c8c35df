"""Mixtures that can be looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dgmm.errors import ParameterError
from dgmm.estimators._inputs import open_table
from dgmm.estimators._saving import SavedMixture
from dgmm.estimators._seeing import few_rows, look_at
from dgmm.inputs.opening import open_request
from dgmm.inputs.table import Request
from dgmm.passes.predict import RESPONSIBILITIES
from dgmm.viz.content import ReportContent
from dgmm.viz.convergence import plot_convergence
from dgmm.viz.ellipses import plot_mixture
from dgmm.viz.page import write_page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dgmm.typing import Array


class DrawnMixture(SavedMixture):
    """A mixture with :meth:`plot`, :meth:`plot_convergence` and :meth:`report`, which take the extra ``viz``."""

    def plot(
        self,
        features: Sequence[int | str] | None = None,
        *,
        X: Any = None,
        mass: float = 0.9,
        ax: Axes | None = None,
    ) -> Axes:
        """Draw the components over a density of the rows.

        Parameters
        ----------
        features : two columns or names, or one, optional
            By default the first two, or the only one.
        X : optional
            What :meth:`predict` takes: some of its rows are drawn; by default ``sample_``, or none if there is no such.
        mass : float, default 0.9
            Share of a component within its ellipse.
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default on a new figure, which pyplot knows nothing of:
            ``ax.figure.savefig("mixture.png")`` writes it.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        NotFittedError
            If there are no parameters yet.
        ParameterError
            If there are no such features, or no such mass.
        DataError
            If X has not the features of the fit.
        MissingExtraError
            If matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np
        >>> from dgmm import GaussianMixture
        >>> X = np.random.default_rng(0).normal(size=(500, 3)) + np.repeat([[0.0], [6.0]], 250, axis=0)
        >>> ax = GaussianMixture(2, random_state=0).fit(X).plot((0, 2))
        >>> ax.get_xlabel(), ax.get_ylabel(), len(ax.patches)
        ('feature 0', 'feature 2', 2)
        """
        self._check_fitted()
        d = np.shape(self.means_)[1]
        names = getattr(self, "feature_names_in_", None)
        return plot_mixture(
            self.weights_,
            self.means_,
            self.covariances_,
            self._family.name,
            features=tuple(range(min(d, 2))) if features is None else _columns(features, names),
            sample=getattr(self, "sample_", None) if X is None else few_rows(open_table(self, X, reset=False).X),
            mass=mass,
            feature_names=names,
            ax=ax,
        )

    def plot_convergence(self, *, ax: Axes | None = None) -> Axes:
        """Draw how the likelihood rose.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where to draw; by default on a new figure, which pyplot knows nothing of.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        NotFittedError
            If there are no parameters yet.
        MissingExtraError
            If matplotlib is not installed.
        """
        self._check_fitted()
        return plot_convergence(
            getattr(self, "lower_bounds_", ()),
            converged=getattr(self, "converged_", None),
            remaining_gap=getattr(self, "remaining_gap_", None),
            step="round of the scan" if hasattr(self, "n_renewed_") else "EM iteration",
            ax=ax,
        )

    def report(self, path: str | os.PathLike[str], X: Any = None, *, selection: Any = None) -> None:
        """Write a page to look at: the parameters, how the fit went, what stands out, with pictures.

        Parameters
        ----------
        path : path
            Of the page, ``*.html``, which needs nothing else; what is there is replaced.
        X : optional
            What :meth:`predict` takes: some of its rows are drawn below the components in the place of ``sample_``,
            and of rows with lines and columns (an xarray object of two sample dimensions or more) a map is made,
            which reads them once.
        selection : Selection, optional
            What the mixture was chosen by: its criterion is drawn.

        Raises
        ------
        NotFittedError
            If there are no parameters yet.
        DataError
            If X has not the features of the fit.
        MissingExtraError
            If matplotlib is not installed.

        Examples
        --------
        >>> import tempfile, numpy as np
        >>> from pathlib import Path
        >>> from dgmm import GaussianMixture
        >>> model = GaussianMixture(2, random_state=0).fit(np.arange(20.0).reshape(10, 2))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.report(f"{folder}/report.html")
        ...     print(Path(folder, "report.html").read_text(encoding="utf-8")[:15])
        <!DOCTYPE html>
        """
        self._check_fitted()
        known: dict[str, Any] = {} if X is None else look_at(self, open_table(self, X, reset=False))
        if selection is not None:
            family, k = selection.best
            known["draw_selection"] = lambda ax: selection.plot(ax=ax)
            known["selection_words"] = f"By {selection.criterion}: {k} components, covariances {family}."
        write_page(self._report_content(type(self).__name__, **known), Path(path))

    def _report_content(self, name: str, **known: Any) -> ReportContent:
        """What a report page tells of the mixture; ``known`` is what the model itself does not know, or better."""
        self._check_fitted()
        reason, sample = getattr(self, "stop_reason_", None), known.pop("sample", getattr(self, "sample_", None))
        names = getattr(self, "feature_names_in_", None)
        own = {
            "feature_names": None if names is None else tuple(map(str, names)),
            "converged": getattr(self, "converged_", None),
            "stop_reason": "" if reason is None else reason.value,
            "lower_bounds": tuple(getattr(self, "lower_bounds_", ())),
            "n_iter": getattr(self, "n_iter_", None),
            "n_reads": getattr(self, "n_reads_", None),
            "n_rows": self._n_fitted_rows(),
            "remaining_gap": getattr(self, "remaining_gap_", None),
            "sampling_error": getattr(self, "sampling_error_", None),
            "n_renewed": getattr(self, "n_renewed_", 0),
            "reg_covar": float(self.get_params(deep=False)["reg_covar"]),
            "sample": sample,
            "certainty": self._certainty(sample),
        }
        return ReportContent(
            name,
            self._family.name,
            self.weights_,
            self.means_,
            self.covariances_,
            scan=self._is_scan(),
            **{**own, **known},
        )

    def _is_scan(self) -> bool:
        return "buffer_rows" in self.get_params(deep=False)

    def _n_fitted_rows(self) -> float | None:
        """Rows of the fit: what the sampling error, p_free / (2 n), tells of them."""
        if hasattr(self, "n_rows_"):
            return float(self.n_rows_)
        error = getattr(self, "sampling_error_", None)
        return self._n_parameters() / (2.0 * error) if error else None

    def _certainty(self, sample: Array | None) -> Array | None:
        if sample is None:
            return None
        rows = sample[np.isfinite(sample).all(axis=1)]
        if not len(rows):
            return None
        names = getattr(self, "feature_names_in_", None)
        table = replace(open_request(rows, Request()), feature_names=None if names is None else tuple(names))
        certainty: Array = np.asarray(self._values(table, RESPONSIBILITIES)[1]).max(axis=1)
        return certainty


def _columns(features: Sequence[int | str], names: Any) -> tuple[int, ...]:
    """Columns of features that are given by column or by name; raises ParameterError for a name that is none."""
    known = {} if names is None else {str(name): j for j, name in enumerate(names)}
    for feature in features:
        if isinstance(feature, str) and feature not in known:
            raise ParameterError(f"features has {feature!r}; the names are: {', '.join(known) or 'none'}")
    return tuple(known[feature] if isinstance(feature, str) else feature for feature in features)
