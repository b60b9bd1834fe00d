"""Instances that are hidden: rejected by a note (IHE IOCM), or waiting in quarantine."""
