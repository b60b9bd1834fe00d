"""Corrections of what a peer sends: kept beside the object, applied on the way out."""
