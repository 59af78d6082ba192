"""Does looking both ways tell more of a token than looking back? GPT (Radford et al. 2018) against BERT (Devlin et al. 2019).

The same Transformer on the same windows of a text, trained to guess the next character or the hidden 15 %. The probe "middle" asks both for
the same 16 characters in the middle of every text: of those before, or of all the others. A step teaches the causal network by every
character and the masked one by 15 %; what only the causal one has is the probability of a text, in bits per character. `:small` has
networks of 2 blocks of 64 channels (BERT's has 4 k parameters more, of its head), windows of 64 characters, 3,000 steps of 32, 3 seeds;
`:paper` has 4 blocks of 128 channels, 128 characters, 20,000 steps of 64.

Run:      python launch.py compare --study=experiments/comparisons/causal_vs_masked.py:small,root=shakespeare.txt --workdir=runs/two_views
Result:   60.2 against 52.7 % of the characters in the middle; 27 CPU-minutes; docs/results/causal_vs_masked.md
"""

from cvjax.config import args, load
from cvjax.study import Claim, Study


def get_study(arg=""):
    a = args(arg, small=False, paper=False, root="text.txt")  # of the two, paper is what it is without a word
    size, length = ("micro", 64) if a.small else ("mini", 128)
    base = load("experiments/text_causal.py", f"root={a.root},variant=gpt-{size},length={length}")
    with base.unlocked():
        base.model.update(places=length, dropout=0.0 if a.small else 0.1)
        base.train.update(duration="3000 steps" if a.small else "20000 steps", eval_every="1000 steps", checkpoint_every="1000 steps")
        base.train.probes = ("middle",)
        base.optim.lr = 4e-3 if a.small else 2e-3
        base.data.batch_size = 32 if a.small else 64
    return Study(
        base,
        arms={"causal": {}, "masked": {"task.name": "masked_modelling", "model.variant": f"bert-{size}"}},
        seeds=(0, 1, 2),
        measured=("middle_loss", "middle_accuracy", "val/loss", "val/bits_per_character"),
        claims=(
            Claim("both sides tell more than the past", "middle_loss", "masked < causal"),
            Claim("and are right more often", "middle_accuracy", "masked > causal"),
        ),
    )
