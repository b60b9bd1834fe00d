"""Rules of the DICOM standard, edition 2025a, as pure functions over bytes and pydicom values."""
