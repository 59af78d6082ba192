"""A pre-trained ViT on CIFAR-10, as the paper fine-tunes it (Dosovitskiy et al. 2021, arXiv:2010.11929, section 4.1 and appendix B.1.1).

384 pixels, whatever the pre-training had: the table of places is interpolated. SGD with momentum 0.9, batches of 512, cosine decay after
500 steps of warm-up, no weight decay, clipped gradients, a head that starts at 0; 10,000 steps (ImageNet has 20,000, Pets and Flowers 500).
The paper tries learning rates of 0.001, 0.003, 0.01 and 0.03. Weights of big_vision and vit_jax need `--config.model.activation=gelu_tanh`.

Run:      python launch.py train --config=experiments/vit_finetune.py --init=timm:vit_base_patch16_224.safetensors --workdir=runs/vit_b16
Needs:    such weights, and a GPU
Expected: not run here (no such weights are at hand); the paper reports 98.13 % for B/16 of ImageNet, 98.95 % of ImageNet-21k
Smoke:    python launch.py train --config=experiments/vit_finetune.py:smoke --workdir=runs/vit_finetune_smoke
"""

from cvjax.config import args, experiment, smoke


def get_config(arg=""):
    a = args(arg, variant="B/16", dataset="cifar10", steps=10_000, lr=0.01, size=384, smoke=False)
    config = experiment(
        seed=0,
        task=dict(name="classification", label_smoothing=0.0),
        model=dict(name="vit", variant=a.variant, activation="gelu", layers="unrolled", dtype="bfloat16"),
        data=dict(name="tfds", dataset=a.dataset, train="train[:98%]", val="train[98%:]", test="test", batch_size=512),
        image=dict(size=32 if a.smoke else a.size, crop_fraction=1.0, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        augment=dict(crop="resized", scale=(0.05, 1.0), flip=True),
        optim=dict(name="sgd", lr=a.lr, momentum=0.9, schedule="cosine", warmup="500 steps", clip=1.0),
        train=dict(duration=f"{a.steps} steps", log_every="50 steps", eval_every="1000 steps", checkpoint_every="1000 steps"),
    )
    return smoke(config, variant="mu/8") if a.smoke else config
