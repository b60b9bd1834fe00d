"""Tables of corrections beside the objects."""
