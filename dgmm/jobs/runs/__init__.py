"""What a run of a job leaves: a folder with its record, log and passes; and how runs are found again."""
