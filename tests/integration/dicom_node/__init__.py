"""The DICOM node on real sockets, with a real archive behind it."""
