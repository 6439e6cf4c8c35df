"""Moments of signals and images, and the features made of them; no Dask, no files."""
