"""Models and arrays in zarr v3, through xarray."""
