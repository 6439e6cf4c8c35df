"""Job files: their specification, how they run, what they report."""
