"""What protects stored data from those who get hold of a disk or a copy of it."""
