"""Whether training on rubric rewards makes a policy better, and which reward is best."""
