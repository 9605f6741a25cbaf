"""Tasks and pairs, read strictly: RaR-Mini, the published sets, and a user's own files."""
