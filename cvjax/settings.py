"""What the loop itself reads of a config: `config.data`, less what is the source's, and `config.train`."""

from dataclasses import dataclass

from cvjax.errors import UserError


@dataclass(frozen=True)
class Loading:
    """`config.data`, less what the source itself takes: which splits, and how examples reach the devices.

    Attributes:
        batch_size: global, over all devices of all hosts.
        cache: "device" keeps a small set whole on every device, where the compiled step draws its batches; "none" streams.
        workers: decoding threads or processes; 0 means one per core.
        worker_kind: "thread", or "process" for slow Python transforms on many cores.
        unreadable: so many different training pictures that cannot be read are named, and others stand in for them; one more stops the run.
            Evaluation never skips.
    """

    train: str
    val: str
    batch_size: int
    test: str = ""
    cache: str = "none"
    workers: int = 0
    worker_kind: str = "thread"
    unreadable: int = 20

    def __post_init__(self) -> None:
        for name, words in (("cache", ("none", "device")), ("worker_kind", ("thread", "process"))):
            if getattr(self, name) not in words:
                raise UserError(f"config.data.{name} is '{getattr(self, name)}'; have: {', '.join(words)}")
        if self.batch_size < 1:
            raise UserError(f"config.data.batch_size is {self.batch_size}; it must be at least 1")
        if self.workers < 0:
            raise UserError(f"config.data.workers is {self.workers}; 0 means one per core")
        if self.unreadable < 0:
            raise UserError(f"config.data.unreadable is {self.unreadable}; 0 means that every picture must be readable")


@dataclass(frozen=True)
class Training:
    """`config.train`: how long, and how often what happens. Durations are "30 epochs" or "500 steps".

    Attributes:
        duration: of the training; a model that is fitted (`cvjax.fitting`) takes none.
        accumulate: micro-batches per update; the update is that of the whole batch (BatchNorm sees micro-batches).
        monitor, mode: the metric that chooses the best checkpoint, and whether "max" or "min" is best.
        patience: stop when the monitored value has not improved for this long; "" never stops early.
        until: stop when the monitored value is this good; None goes on.
        keep: how many of the latest checkpoints stay on disk, besides the best.
        probes: files of cvjax/probes/ that look into the network, while it trains and at the end; see `cvjax.probe`.
        on_nan: a loss or gradient that is not finite stops the run ("stop"), or its update is left out and counted ("skip").
    """

    duration: str = ""
    accumulate: int = 1
    log_every: str = "50 steps"
    eval_every: str = "1 epochs"
    checkpoint_every: str = "1 epochs"
    monitor: str = "val/top1"
    mode: str = "max"
    patience: str = ""
    until: float | None = None
    keep: int = 2
    probes: tuple[str, ...] = ()
    on_nan: str = "stop"

    def __post_init__(self) -> None:
        for name, words in (("mode", ("max", "min")), ("on_nan", ("stop", "skip"))):
            if getattr(self, name) not in words:
                raise UserError(f"config.train.{name} is '{getattr(self, name)}'; have: {', '.join(words)}")
        for name in ("accumulate", "keep"):
            if getattr(self, name) < 1:
                raise UserError(f"config.train.{name} is {getattr(self, name)}; it must be at least 1")
