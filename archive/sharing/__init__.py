"""Who else may see a study than the facility that made it."""
