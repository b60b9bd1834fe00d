"""Objects that are stored but not shown: rejected by a note (IHE IOCM), or in quarantine."""
