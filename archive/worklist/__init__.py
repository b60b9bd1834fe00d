"""Scheduled procedure steps, their worklist, and what modalities report of them (PS3.4 F, K)."""
