"""Reading of untrusted files: limits, YAML, pickles, archives and names."""
