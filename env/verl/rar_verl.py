"""RaR's reward in verl: every process of a run imports this module (see rar_medicine.yaml).

Copy it, and put your judge here. It must be importable on every node: the folder on PYTHONPATH.
"""

import os

from rar_lib import Chat, Judge, RubricReward
from rar_lib.training.adapters import for_verl, register_verl

# Every node must reach the judge. Each of reward.num_workers processes has up to `concurrency`
# requests in flight: 8 x 16 here.
judge = Judge(Chat(os.environ["RAR_JUDGE_URL"], os.environ["RAR_JUDGE_MODEL"], concurrency=16))
compute_score = for_verl(RubricReward(judge, "implicit"))
register_verl(max_unscored=0.25)
