"""Small experiments for tests: any task, on fake data, trained in seconds."""

from cvjax import lookup
from cvjax.config import experiment


def tiny(task="classification", **sections):
    """A config of four steps of eight examples; `sections` override single keys: tiny(train=dict(accumulate=2))."""
    text = lookup.find("tasks", task).DATA[0] == "text"
    model = dict(lookup.find("tasks", task).TINY)
    monitor = {"classification": "val/top1", "multilabel": "val/loss"}
    base = {
        "seed": 0,
        "init": "",
        "task": {"name": task},
        "model": model,
        "data": {"name": "fake", "task": "text" if text else task, "train": "train", "val": "val", "batch_size": 8, "size": 8,
                 "num_examples": 20, "num_classes": 7, "cache": "none"},
        "image": {} if text else {"size": 8},
        "augment": {} if text else {"flip": True},
        "optim": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "train": {"duration": "4 steps", "log_every": "2 steps", "eval_every": "2 steps", "checkpoint_every": "2 steps",
                  "monitor": monitor.get(task, "val/loss"), "mode": "max" if task == "classification" else "min"},
    }  # fmt: skip
    for name, value in sections.items():
        base[name] = {**base[name], **value} if isinstance(value, dict) else value
    return experiment(**base)
