"""Storage Commitment Push Model on the wire, as SCP and as SCU (PS3.4 J)."""
