"""What changes in the archive, told in order: the change feed and its webhooks."""
