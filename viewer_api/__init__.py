"""DICOMweb (PS3.18), the study list and the viewer over HTTP."""
