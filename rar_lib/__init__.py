"""Rubrics as Rewards (arXiv 2507.17746) as a thin library.

    from rar_lib.data import load_mini
    from rar_lib.judge import Judge
    from rar_lib.rewards import RubricReward

Importing ``rar_lib`` loads no torch, no unsloth, no vllm and no openai.
"""

__version__ = "0.1.0"
