"""torchvision's ResNet-18 and -50 and a CIFAR ResNet-20 in torch, with the same weights: the same numbers."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import fill, image

from cvjax.models import resnet

GOLDEN = np.load(Path(__file__).with_name("resnet.npz"))
AGAIN = "intended? python tests/parity/make_resnet.py"
TORCH = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


def torch_name(path: str) -> str:
    """stage2_block1/shortcut_conv/kernel -> layer2.0.downsample.0.weight"""
    *module, leaf = path.split("/")
    name = ".".join(module).replace("head", "fc").replace("shortcut_conv", "downsample.0").replace("shortcut_norm", "downsample.1")
    name = re.sub(r"stage(\d+)_block(\d+)", lambda m: f"layer{m[1]}.{int(m[2]) - 1}", name)
    name = name.replace("stem_conv", "conv1").replace("stem_norm", "bn1").replace("norm", "bn")
    return f"{name}.{TORCH[leaf]}"


def filled(variables):
    def value(path, leaf):
        name = torch_name("/".join(key.key for key in path[1:]))
        if leaf.ndim == 4:  # h w i o <- o i h w
            return jnp.asarray(fill(name, tuple(leaf.shape[i] for i in (3, 2, 0, 1))).transpose(2, 3, 1, 0))
        return jnp.asarray(fill(name, leaf.shape[::-1]).T)

    return jax.tree.map_with_path(value, variables)


# The gradient of 50 layers at 64x64 normalises over 8 values at its end: rounding alone moves it by half a percent.
@pytest.mark.parametrize(("variant", "size", "tolerance"), [(20, 32, 1e-3), (18, 64, 1e-3), (50, 64, 2e-2)])
def test_same_numbers_as_torch(variant, size, tolerance):
    model = resnet.Model(num_classes=10 if variant == 20 else 1000, variant=variant)
    inputs = {"image": jnp.asarray(image(size))}
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), inputs, train=False))
    variables = filled(shapes)
    golden = {key: GOLDEN[f"{variant}/{key}"] for key in ("logits", "loss", "stem_gradient", "stem_mean", "stem_var")}

    logits = jax.jit(lambda v: model.apply(v, inputs, train=False)["logits"])(variables)
    np.testing.assert_allclose(logits[:, :10], golden["logits"], rtol=1e-4, atol=1e-4, err_msg=AGAIN)

    def loss(params):
        out, new = model.apply({**variables, "params": params}, inputs, train=True, mutable=["batch_stats"])
        return -jax.nn.log_softmax(out["logits"])[jnp.arange(2), jnp.array([1, 2])].mean(), new

    (value, new), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    stem = gradient["stem_conv"]["kernel"].transpose(3, 2, 0, 1)[:4]
    scale = np.abs(golden["stem_gradient"]).max()
    np.testing.assert_allclose(value, golden["loss"], rtol=1e-4, err_msg=AGAIN)
    np.testing.assert_allclose(stem / scale, golden["stem_gradient"] / scale, atol=tolerance, err_msg=AGAIN)
    stats = new["batch_stats"]["stem_norm"]
    np.testing.assert_allclose(stats["mean"], golden["stem_mean"], rtol=1e-4, atol=1e-5, err_msg=AGAIN)
    np.testing.assert_allclose(stats["var"], golden["stem_var"], rtol=1e-4, err_msg=AGAIN)
