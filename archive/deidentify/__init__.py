"""De-identification of studies for research (PS3.15 Annex E): `table` decides, `dataset` does, `export` writes."""
