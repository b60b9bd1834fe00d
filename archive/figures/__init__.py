"""Counts of what the province does: facts of each study, and sums of them that are kept, not counted."""
