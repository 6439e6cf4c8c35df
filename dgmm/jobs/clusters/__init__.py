"""Where a job computes: the kinds of the section ``cluster``, how each is started, watched and taken down."""
