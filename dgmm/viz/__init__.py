"""Pictures of fits, with matplotlib (the extra ``viz``)."""
