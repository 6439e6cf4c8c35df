"""The control flow of a fit, as values; knows neither Dask nor files."""
