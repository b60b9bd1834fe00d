"""Unified Procedure Steps: the worklist of post-processing (PS3.3 B.26, PS3.4 Annex CC)."""
