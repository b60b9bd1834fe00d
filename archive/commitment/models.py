"""Tables of storage commitment."""
