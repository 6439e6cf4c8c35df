"""Where a job computes: one section for each kind of cluster, and how it is started."""
