"""Object stores: opaque keys and bytes, no knowledge of DICOM."""
