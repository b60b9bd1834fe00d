"""The archive: index, ingest, query and retrieval. Knows neither DIMSE nor HTTP."""
