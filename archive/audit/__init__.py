"""The record of every look, change and refusal."""
