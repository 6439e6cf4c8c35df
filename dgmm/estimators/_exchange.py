"""Mixtures as others hold them: a labelled dataset of the parameters, scikit-learn's estimator."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import sklearn.mixture
import xarray as xr
from sklearn.utils.validation import check_is_fitted

from dgmm.errors import DataTypeError, NotFittedError
from dgmm.estimators._base import MixtureEstimator
from dgmm.mixture.families import FAMILIES
from dgmm.mixture.parameters import MixtureParameters

_PEER = sklearn.mixture.GaussianMixture
# Scalars of a fit that the dataset's attributes state.
_SCALARS = ("converged_", "n_iter_", "n_reads_", "lower_bound_", "remaining_gap_", "sampling_error_", "n_rows_")
_OF_A_FIT = ("converged_", "n_iter_", "lower_bound_", "lower_bounds_", "n_features_in_", "feature_names_in_")
# Families that scikit-learn lacks are written as the narrowest of its own that holds them.
_WIDER = {"tied-diag": "tied", "tied-spherical": "tied"}


class ExchangedMixture(MixtureEstimator):
    """A mixture with :meth:`to_xarray`, :meth:`to_sklearn` and :meth:`from_sklearn`."""

    def to_xarray(self) -> xr.Dataset:
        """Return the fitted parameters as a labelled dataset.

        Returns
        -------
        Dataset
            ``weights`` (component), ``means`` (component, feature), ``covariances`` and ``precisions``, of the
            family's shape with dimensions from component, feature, feature_2, in units and squared units of the
            features, and ``lower_bounds`` (iteration), in nats per row. ``feature`` has the names of the
            features, or their numbers. Attributes state the family and how the fit ended.

        Raises
        ------
        NotFittedError
            If there are no parameters yet.

        Examples
        --------
        >>> import pandas as pd
        >>> from dgmm import GaussianMixture
        >>> frame = pd.DataFrame({"depth": [1.0, 2.0, 3.0, 80.0, 90.0], "salt": [3.1, 3.0, 3.1, 3.0, 3.1]})
        >>> found = GaussianMixture(2, random_state=0).fit(frame).to_xarray()
        >>> found.means.sel(feature="depth").values.round(3).tolist()
        [2.0, 85.0]
        """
        self._check_fitted()
        k, d = np.shape(self.means_)
        names = np.asarray(getattr(self, "feature_names_in_", np.arange(d)))
        if names.dtype == object:
            names = names.astype(str)
        own = self._family.dimensions
        variables: dict[str, Any] = {
            "weights": (("component",), self.weights_),
            "means": (("component", "feature"), self.means_),
            "covariances": (own, self.covariances_),
            "precisions": (own, self.precisions_),
        }
        coords: dict[str, Any] = {"component": np.arange(k), "feature": names}
        if "feature_2" in own:
            coords["feature_2"] = names
        bounds = getattr(self, "lower_bounds_", None)
        if bounds:
            told = {"long_name": "mean log-likelihood, or its lower bound", "units": "nats per row"}
            variables["lower_bounds"] = ("iteration", np.asarray(bounds), told)
            coords["iteration"] = np.arange(1, len(bounds) + 1)
        attrs: dict[str, Any] = {"covariance_type": self._family.name, "n_components": k, "n_features": d}
        for name in _SCALARS:
            value = getattr(self, name, None)
            if value is not None:
                # Files know no truth values.
                attrs[name.rstrip("_")] = int(value) if isinstance(value, bool) else value
        reason = getattr(self, "stop_reason_", None)
        if reason is not None:
            attrs["stop_reason"] = reason.value
        return xr.Dataset(variables, coords, attrs)

    def to_sklearn(self) -> sklearn.mixture.GaussianMixture:
        """Return scikit-learn's estimator of the same mixture, fitted.

        Parameters of the constructor that scikit-learn lacks are left out, and those whose value it does not take
        have its default; ``tied-diag`` and ``tied-spherical`` become ``tied``, with the same densities.

        Raises
        ------
        NotFittedError
            If there are no parameters yet.

        Examples
        --------
        >>> import numpy as np
        >>> from dgmm import GaussianMixture
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> model = GaussianMixture(2, random_state=0).fit(X)
        >>> bool(np.isclose(model.to_sklearn().score(X), model.score(X)))
        True
        """
        parameters, family = self._parameters(), self._family
        d, dtype = parameters.n_features, np.asarray(self.means_).dtype
        name = _WIDER.get(family.name, family.name)
        peer = _PEER(len(parameters.weights), covariance_type=name)
        known = peer.get_params()
        own = {key: value for key, value in self.get_params(deep=False).items() if key in known}
        own |= {"n_components": len(parameters.weights), "covariance_type": name}
        if own.get("tol") == "auto":
            del own["tol"]
        if own.get("init_params") not in ("kmeans", "k-means++", "random", "random_from_data"):
            own["init_params"] = known["init_params"]
        if name != family.name and own.get("precisions_init") is not None:
            own["precisions_init"] = None
        peer.set_params(**own)
        wide = FAMILIES[name]
        inner = (parameters.covariances, parameters.precisions_cholesky)
        covariances, factors = inner if name == family.name else (family.form.full(each, d) for each in inner)
        if name != family.name:
            factors = wide.form.precision_cholesky(covariances)
        peer.weights_ = np.asarray(self.weights_).copy()
        peer.means_ = np.asarray(self.means_).copy()
        peer.covariances_ = wide.public(covariances, d).astype(dtype)
        peer.precisions_cholesky_ = wide.public(factors, d).astype(dtype)
        peer.precisions_ = wide.public(wide.form.precision(factors), d).astype(dtype)
        for attribute in _OF_A_FIT:
            if hasattr(self, attribute):
                setattr(peer, attribute, getattr(self, attribute))
        peer.n_features_in_ = d
        return peer

    @classmethod
    def from_sklearn(cls, model: sklearn.mixture.GaussianMixture) -> Self:
        """Return this estimator of a mixture that scikit-learn has fitted.

        It predicts and scores as the original; ``fit`` with ``warm_start=True`` goes on from there.

        Parameters
        ----------
        model : sklearn.mixture.GaussianMixture
            Fitted. Its parameters of the constructor are taken where this class has them.

        Raises
        ------
        DataTypeError
            If it is something else.
        NotFittedError
            If it has no parameters yet.

        Examples
        --------
        >>> import numpy as np, sklearn.mixture
        >>> from dgmm import GaussianMixture
        >>> X = np.random.default_rng(0).normal(size=(100, 2))
        >>> peer = sklearn.mixture.GaussianMixture(2, random_state=0).fit(X)
        >>> model = GaussianMixture.from_sklearn(peer)
        >>> bool((model.predict(X) == peer.predict(X)).all())
        True
        """
        if not isinstance(model, _PEER):
            raise DataTypeError(
                f"model is a {type(model).__module__}.{type(model).__name__}; "
                "expected a sklearn.mixture.GaussianMixture"
            )
        try:
            check_is_fitted(model)
        except sklearn.exceptions.NotFittedError as error:
            raise NotFittedError(f"model, a {type(model).__name__}, is not fitted yet; call its fit") from error
        estimator = cls()
        known = estimator.get_params(deep=False)
        estimator.set_params(**{key: value for key, value in model.get_params(deep=False).items() if key in known})
        estimator._fitted_type = model.covariance_type
        family, (k, d) = FAMILIES[model.covariance_type], np.shape(model.means_)
        parameters = MixtureParameters(
            np.asarray(model.weights_, dtype=np.float64),
            np.asarray(model.means_, dtype=np.float64),
            family.inner(model.covariances_, k, d),
            family.inner(model.precisions_cholesky_, k, d),
        )
        estimator._set_parameters(parameters, np.asarray(model.means_).dtype)
        for attribute in _OF_A_FIT:
            if hasattr(model, attribute):
                setattr(estimator, attribute, getattr(model, attribute))
        return estimator
