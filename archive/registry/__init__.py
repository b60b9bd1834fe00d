"""Peers of the DICOM node that administrators add and change while it runs, beside those of the settings."""
