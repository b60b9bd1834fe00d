"""The DICOM node: DIMSE services over TCP (PS3.7, PS3.8)."""
