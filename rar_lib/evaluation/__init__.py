"""Is the policy better? Can the judge be trusted?"""
