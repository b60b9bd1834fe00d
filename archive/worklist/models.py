"""Tables of modality worklist and performed procedure steps."""
