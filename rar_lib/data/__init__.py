"""Tasks, with pairs of responses, read strictly: RaR-Mini, published sets, a user's own files."""
