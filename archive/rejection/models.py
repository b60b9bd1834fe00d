"""Tables of rejected and quarantined instances."""
