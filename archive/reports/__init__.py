"""What radiologists found: reports in versions, none of which is ever overwritten once it is signed."""
