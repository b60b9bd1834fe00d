"""Tables of routes and their queues."""
