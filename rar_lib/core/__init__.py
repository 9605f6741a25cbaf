"""What everything stands on: the vocabulary, the arithmetic, text, prompts, files."""
