"""The maths of Gaussian mixtures, on numpy and scipy alone."""
