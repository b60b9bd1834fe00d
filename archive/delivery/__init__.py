"""How results reach the patient: by link, on disc, on film; and what proves that they did."""
