"""Who calls by HTTP: sessions of browsers, tokens of programs, and the pages and resources by which both begin."""
