"""The grade becomes the reward: a policy is trained, in runs that can be killed, then continued."""
