"""Reading what strangers wrote: limits, YAML, pickles, archives and names."""
