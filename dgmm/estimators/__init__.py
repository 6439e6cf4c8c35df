"""The scikit-learn-shaped estimators."""
