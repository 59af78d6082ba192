"""How many heads for the same compute? Vaswani et al. 2017 (arXiv:1706.03762), Table 3, row (A).

The GPT of experiments/text_causal.py with its channels shared out among 1 to 32 heads: parameters and multiply-adds stay as they are.
`:small` has 2 blocks of 64 channels, windows of 64 characters, 1,500 steps of 32, 3 seeds; `:paper` 4 blocks of 128 channels, 128
characters, 20,000 steps of 64.

Run:      python launch.py compare --study=experiments/comparisons/heads.py:small,root=shakespeare.txt --workdir=runs/heads
Result:   1.853 nats with 1 head, 1.747 with 4 and 8, 1.783 with 32; 25 CPU-minutes; docs/results/heads.md
"""

from cvjax.config import args, load
from cvjax.study import Claim, Paper, Study

HEADS = (1, 4, 8, 32)
PAPER = Paper(
    citation="Vaswani et al. 2017, Table 3, row (A)",
    protocol="base Transformer, 512 channels, English to German, newstest2013, 100,000 steps: perplexity of pieces of words",
    numbers={"val/perplexity": {"heads-1": 5.29, "heads-4": 5.00, "heads-8": 4.92, "heads-32": 5.01}},
    differs="another text, another task and a far smaller network; the paper's heads have 512 to 16 channels, ours 64 to 2",
)


def get_study(arg=""):
    a = args(arg, small=False, paper=False, root="text.txt")  # of the two, paper is what it is without a word
    size, length = ("micro", 65) if a.small else ("mini", 129)
    base = load("experiments/text_causal.py", f"root={a.root},variant=gpt-{size},length={length}")
    with base.unlocked():
        base.model.dropout = 0.0 if a.small else 0.1
        base.train.update(duration="1500 steps" if a.small else "20000 steps", eval_every="500 steps", checkpoint_every="1500 steps")
        base.optim.lr = 4e-3 if a.small else 2e-3
        base.data.batch_size = 32 if a.small else 64
    return Study(
        base,
        arms={f"heads-{heads}": {"model.heads": heads} for heads in HEADS},
        seeds=(0, 1, 2),
        measured=("val/loss", "val/perplexity", "val/bits_per_character"),
        claims=(
            Claim("one head is worse than several", "val/loss", "heads-1 > heads-8"),
            Claim("too many are worse, too", "val/loss", "heads-32 > heads-8"),
        ),
        paper=PAPER,
    )
