"""Every network of the project side by side (Canziani, Paszke & Culurciello 2016, arXiv:1605.07678): accuracy, size, cost, memory, time.

Networks are found, not listed: all REFERENCES and VARIANTS of the files in cvjax/models, every experiment, and the finished runs of a
folder. A model file may say of its networks

    usual(variant)   the image (h, w, c) and the number of classes that a variant is made for
    PUBLISHED        {name: (top-1 accuracy in %, protocol and source)}; the names are those of REFERENCES, else "file-variant"
"""

import csv
import dataclasses
import fnmatch
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from cvjax import config as configs
from cvjax import describe, files, lookup, measure
from cvjax.environment import cores
from cvjax.errors import UserError, did_you_mean
from cvjax.reporting import complexity_page, runs
from cvjax.reporting.complexity import density, headline


class Network(NamedTuple):
    """A network and one blank example of what it is for; `top1` in % is never without its `protocol`. No model: `remark` says why."""

    name: str
    model: nn.Module | None
    blank: dict | None = None
    top1: float | None = None
    protocol: str = ""
    remark: str = ""

    @property
    def shape(self) -> str:
        """Of the example, without the batch: "32x32x3"."""
        return "x".join(map(str, next(iter(self.blank.values())).shape[1:])) if self.blank else ""

    @property
    def family(self) -> str:
        """The model file's name."""
        return type(self.model).__module__.rpartition(".")[2] if self.model is not None else ""


def compare(
    experiments: Path,
    workdir: Path | None,
    words: list[str],
    batch_sizes: Iterable[str],
    seconds: float,
    out: Path | None,
    say: Callable[[str], None] = print,
) -> None:
    """The facts of all networks, or of those that the words choose; then, the cheapest first, their speed and memory in inference.

    seconds: how long a batch size of a network is measured, at least; 0 not at all.
    out: where tables, charts and a page are kept, every measurement as soon as it is made; the same again goes on from them.

    Raises:
        UserError: a word that chooses nothing, batch sizes that are no numbers, a folder that is none.
    """
    sizes = measure.whole(batch_sizes)
    if not 0 <= seconds < float("inf"):
        raise UserError(f"--seconds={seconds}: how long to measure each batch size of a network; 0 does not")
    if out and out.exists() and not out.is_dir():
        raise UserError(f"--out={out} is a file; give a folder")
    networks = list(_chosen([*_of_models(), *_of_experiments(experiments), *_of_runs(workdir)], words))
    rows = [facts(network) for network in networks]
    for line in measure.aligned(
        [("network", "image", "parameters", "multiply-adds", "activations", "top-1, %", "per M", "by"), *map(_line, rows)]
    ):
        say(line)
    say("\nfor one image; activations: outputs of convolutions and matrix products; per M: top-1 over million parameters")
    if out:
        out.mkdir(parents=True, exist_ok=True)
    try:
        if seconds:
            _time(networks, rows, sizes, seconds, out and out / "measured.jsonl", say)
    finally:  # also when Ctrl-C ends it
        if out:
            _keep(rows, out)
            say(str(out / "complexity.html"))


# ---- which networks there are


def _of_models() -> Iterator[Network]:
    """Of every model file the networks that a reference library names, then the variants that none of those is.

    Without those whose inputs are more than pictures (the file has `example`); their experiments say what these are.
    """
    for file in (file for name in lookup.names("models") if not hasattr(file := lookup.find("models", name), "example")):
        name = file.__name__.rpartition(".")[2]
        references = getattr(file, "REFERENCES", {})
        named = {known: settings for known, settings in references.items() if "variant" in settings}
        rest = [variant for variant in file.VARIANTS if variant not in [settings["variant"] for settings in named.values()]]
        seen: list[dict] = []  # a network for another number of classes, or with another GELU, costs the same
        for known, settings in {**references, **{f"{name}-{variant}": {"variant": variant} for variant in rest}}.items():
            bare = {key: value for key, value in settings.items() if key not in ("num_classes", "activation")}
            if bare not in seen:
                seen.append(bare)
                yield _network(file, known, settings)


def _network(file: ModuleType, name: str, settings: dict) -> Network:
    remark = "" if hasattr(file, "usual") else "32 x 32 x 3 and 10 classes assumed"
    side = max(32, file.SMALLEST)
    image, classes = file.usual(settings.get("variant", file.Model.variant)) if not remark else ((side, side, 3), 10)
    top1, protocol = getattr(file, "PUBLISHED", {}).get(name, (None, ""))
    blank = {"image": jax.ShapeDtypeStruct((1, *image), jnp.float32)}
    return Network(name, file.Model(**{"num_classes": classes, **settings}), blank, top1, protocol, remark)


def _of_experiments(folder: Path) -> Iterator[Network]:
    for path in sorted(folder.glob("*.py")):
        yield _of_config(f"{folder.name}/{path.name}", partial(configs.load, str(path)))


def _of_runs(workdir: Path | None) -> Iterator[Network]:
    """Of the finished runs in and below a folder, with the accuracy that each ended with."""
    for run in runs.find([workdir]) if workdir else []:
        metric = runs.main_metric([run])
        if run.finished and metric and metric.endswith("/top1"):
            metric = runs.headline([run], metric)
            network = _of_config(str(run.path.relative_to(workdir.resolve().parent)), partial(configs.read, run.path))  # type: ignore[union-attr]
            top1 = runs.final(run, metric)
            yield network._replace(
                top1=top1 and 100 * top1, protocol=f"run of this project, {runs.setting(run, 'data.name')} {runs.split(run, metric)}"
            )


def _of_config(name: str, load: Callable[[], ConfigDict]) -> Network:
    try:
        e, assumed = measure.built(load())
    except UserError as error:
        return Network(name, None, remark=str(error))
    return Network(name, e.model, jax.eval_shape(e.blank), remark=assumed)


def _chosen(networks: list[Network], words: list[str]) -> list[Network]:
    """Those whose name, or model file, one of the words is or matches as a pattern; all where there are no words."""
    known = [name for network in networks for name in (network.name, network.family)]
    for word in words:
        if not fnmatch.filter(known, word):
            raise UserError(f"no network is called '{word}'{did_you_mean(word, known)}; --all alone lists them")
    return [n for n in networks if not words or any(fnmatch.filter([n.name, n.family], word) for word in words)]


# ---- what is said of one


def facts(network: Network) -> dict[str, Any]:
    """What shapes say of a network, and what is known of its accuracy; nothing is run. `measured` is to be filled."""
    row: dict[str, Any] = {"name": network.name, "family": network.family, "image": network.shape}
    row |= {"parameters": None, "multiply_adds": None, "activations": None, "top1": network.top1, "protocol": network.protocol}
    row |= {"remark": network.remark, "measured": []}
    if network.model is not None and network.blank is not None:
        try:
            layers = describe.layers(network.model, network.blank)
        except (ValueError, TypeError) as error:  # a model that cannot be made so is a line of the table, not the end of it
            return row | {"remark": str(error).splitlines()[0]}
        names = ("parameters", "multiply_adds", "activations")
        row |= {name: sum(column) for name, column in zip(names, list(zip(*layers, strict=True))[2:], strict=True)}
    return row


def _line(row: dict[str, Any]) -> tuple[str, ...]:
    numbers = [f"{row[name]:,}" if row[name] is not None else "" for name in ("parameters", "multiply_adds", "activations")]
    share = density(row)
    accuracy = [f"{row['top1']:.2f}", f"{share:.2f}" if share else ""] if row["top1"] is not None else ["", ""]
    return (row["name"], row["image"], *numbers, *accuracy, "; ".join(filter(None, [row["protocol"], row["remark"]])))


def _time(
    networks: list[Network], rows: list[dict], sizes: list[int], seconds: float, log: Path | None, say: Callable[[str], None]
) -> None:
    """Fills `measured` of the rows. The same network under two names is measured once."""
    here = {"device": _device(), "jax": jax.__version__}
    say(f"\ninference on one device ({here['device']}), {seconds:g} s for each batch size; --seconds=0 leaves this out")
    width = max(len(row["name"]) for row in rows)
    known: dict[tuple[str, int], dict] = {}
    for line in files.lines(log) if log else []:
        if {key: line[key] for key in here} == here:
            known[line["network"], line["batch"]] = line
    pairs = [pair for pair in zip(networks, rows, strict=True) if pair[1]["multiply_adds"] is not None]
    for network, row in sorted(pairs, key=lambda pair: pair[1]["multiply_adds"]):
        key = _key(network)
        for found in _measured(network, [size for size in sizes if (key, size) not in known], seconds):
            if not isinstance(found, int):
                known[key, found.batch] = {"network": key, **found._asdict(), **here, "time": files.now()}
                if log:
                    files.append_line(log, known[key, found.batch])
            say("  ".join([row["name"].ljust(width), *(word.rjust(8) for word in measure.spoken(found))]))
        row["measured"] = [known[key, size] for size in sizes if (key, size) in known]


def _measured(network: Network, sizes: list[int], seconds: float) -> Iterator[measure.Measured | int]:
    if sizes and network.model is not None:
        make, blank = jax.jit(partial(network.model.init, train=False)), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), network.blank)
        yield from measure.inference(network.model, make(jax.random.key(0), blank), blank, sizes, seconds)


def _key(network: Network) -> str:
    """What makes two networks take the same time: the fields of the model, and the image."""
    names = [field.name for field in dataclasses.fields(network.model) if field.name not in ("name", "parent")]  # type: ignore[arg-type]
    return f"{network.family} {network.shape} { {name: getattr(network.model, name) for name in names} }"


def _device() -> str:
    device = jax.local_devices()[0]
    return f"CPU, {cores()} cores" if device.platform == "cpu" else device.device_kind


# ---- what is kept


def _keep(rows: list[dict], out: Path) -> None:
    """complexity.json, complexity.csv (a line for each network and batch size), the charts and complexity.html."""
    files.write_json(
        out / "complexity.json", {"command": " ".join(sys.argv[1:]), "time": files.now(), "device": _device(), "networks": rows}
    )
    with open(out / "complexity.csv", "w", newline="") as file:
        names = [name for name in rows[0] if name != "measured"]
        writer = csv.writer(file)
        writer.writerow([*names, "density", *measure.Measured._fields])
        for row in rows:
            for found in row["measured"] or [{}]:
                writer.writerow([*(row[name] for name in names), density(row), *(found.get(name) for name in measure.Measured._fields)])
    complexity_page.write(rows, out, f"{_device()}, jax {jax.__version__}", headline(rows))
