"""Who uses the archive: accounts and their roles, sessions, and what each may do where."""
