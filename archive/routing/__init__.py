"""Rules that send objects on to other AEs, and a durable queue for each of these."""
