"""Passes over chunked rows on Dask: one map, one fixed tree of merges."""
