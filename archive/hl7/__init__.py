"""HL7 version 2: orders, patients and reports, over MLLP, with a log from which messages can be done again."""
