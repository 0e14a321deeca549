"""Tools about models: what they cost, and what lightening changed."""
