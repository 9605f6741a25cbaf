"""The grade becomes the reward: a policy is trained, and can be killed and continued."""
