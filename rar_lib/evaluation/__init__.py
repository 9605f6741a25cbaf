"""Is the policy better, and can the judge be trusted?"""
