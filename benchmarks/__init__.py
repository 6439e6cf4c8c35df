"""One runnable module per question; each prints its command, the machine's limits and a table."""
