"""FHIR R4 (4.0.1): resources made of rows of the index, and their search."""
