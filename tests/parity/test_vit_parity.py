"""timm's and Hugging Face's ViTs with the same weights: the same logits. The npz files of vit_jax and big_vision, made here by hand."""

import hashlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filled import VITS, fill, image

from cvjax import pretrained, transfer
from cvjax.errors import UserError
from cvjax.models import vit
from cvjax.state import flat

GOLDEN = np.load(Path(__file__).with_name("vit.npz"))
AGAIN = "intended? python tests/parity/make_vit.py"


def of_timm(size, patch, classes=1000, side=224):
    """timm's names and shapes."""
    c, places = size.width, (side // patch) ** 2 + 1
    dense = {"attn.qkv": (3 * c, c), "attn.proj": (c, c), "mlp.fc1": (size.mlp, c), "mlp.fc2": (c, size.mlp)}
    block = {f"{name}.weight": shape for name, shape in dense.items()} | {f"{name}.bias": shape[:1] for name, shape in dense.items()}
    block |= {f"{norm}.{leaf}": (c,) for norm in ("norm1", "norm2") for leaf in ("weight", "bias")}
    return {
        "cls_token": (1, 1, c), "pos_embed": (1, places, c), "patch_embed.proj.weight": (c, 3, patch, patch), "patch_embed.proj.bias": (c,),
        **{f"blocks.{i}.{name}": shape for i in range(size.depth) for name, shape in block.items()},
        "norm.weight": (c,), "norm.bias": (c,), "head.weight": (classes, c), "head.bias": (classes,),
    }  # fmt: skip


def of_hugging_face(size, patch, hub):
    """Hugging Face's names and shapes: those of files on its hub, or of a state_dict since version 5."""
    c = size.width
    part = {part: f"attention.attention.{part}" if hub else f"attention.{part[0]}_proj" for part in ("query", "key", "value")}
    out, fc1, fc2 = ("attention.output.dense", "intermediate.dense", "output.dense") if hub else ("attention.o_proj", "mlp.fc1", "mlp.fc2")
    dense = {**dict.fromkeys((*part.values(), out), (c, c)), fc1: (size.mlp, c), fc2: (c, size.mlp)}
    block = {f"{name}.weight": shape for name, shape in dense.items()} | {f"{name}.bias": shape[:1] for name, shape in dense.items()}
    block |= {f"layernorm_{at}.{leaf}": (c,) for at in ("before", "after") for leaf in ("weight", "bias")}
    layers = "vit.encoder.layer" if hub else "vit.layers"
    patches = "vit.embeddings.patch_embeddings.projection"
    return {
        "vit.embeddings.cls_token": (1, 1, c), "vit.embeddings.position_embeddings": (1, (224 // patch) ** 2 + 1, c),
        f"{patches}.weight": (c, 3, patch, patch), f"{patches}.bias": (c,),
        **{f"{layers}.{i}.{name}": shape for i in range(size.depth) for name, shape in block.items()},
        "vit.layernorm.weight": (c,), "vit.layernorm.bias": (c,), "classifier.weight": (1000, c), "classifier.bias": (1000,),
    }  # fmt: skip


def filled(shapes):
    return {name: fill(name, shape) for name, shape in shapes.items()}


def of_jax(arrays, heads, own):
    """An npz out of timm's arrays, by hand: vit_jax's kind, or big_vision's own, where the class token has no place."""
    mha, mlp, second = ("MultiHeadDotProductAttention_0", "MlpBlock_0", 1) if own else ("MultiHeadDotProductAttention_1", "MlpBlock_3", 2)
    c = arrays["norm.bias"].size
    found = {"embedding/kernel": np.einsum("oipq->pqio", arrays["patch_embed.proj.weight"]),
             "embedding/bias": arrays["patch_embed.proj.bias"],
             "head/kernel": arrays["head.weight"].T, "head/bias": arrays["head.bias"], "cls": arrays["cls_token"],
             "Transformer/encoder_norm/scale": arrays["norm.weight"], "Transformer/encoder_norm/bias": arrays["norm.bias"]}  # fmt: skip
    found["pos_embedding" if own else "Transformer/posembed_input/pos_embedding"] = arrays["pos_embed"][:, int(own) :]
    for i in range(sum("norm1.bias" in name for name in arrays)):
        theirs, ours = f"Transformer/encoderblock_{i}/", f"blocks.{i}."
        for norm, number in (("norm1", 0), ("norm2", second)):
            found[f"{theirs}LayerNorm_{number}/scale"] = arrays[f"{ours}{norm}.weight"]
            found[f"{theirs}LayerNorm_{number}/bias"] = arrays[f"{ours}{norm}.bias"]
        for k, part in enumerate(("query", "key", "value")):
            kernel, bias = (arrays[f"{ours}attn.qkv.{leaf}"][k * c : (k + 1) * c] for leaf in ("weight", "bias"))
            found[f"{theirs}{mha}/{part}/kernel"] = kernel.T.reshape(c, heads, c // heads)
            found[f"{theirs}{mha}/{part}/bias"] = bias.reshape(heads, c // heads)
        found[f"{theirs}{mha}/out/kernel"] = arrays[f"{ours}attn.proj.weight"].T.reshape(heads, c // heads, c)
        found[f"{theirs}{mha}/out/bias"] = arrays[f"{ours}attn.proj.bias"]
        for k in (0, 1):
            found[f"{theirs}{mlp}/Dense_{k}/kernel"] = arrays[f"{ours}mlp.fc{k + 1}.weight"].T
            found[f"{theirs}{mlp}/Dense_{k}/bias"] = arrays[f"{ours}mlp.fc{k + 1}.bias"]
    return {f"params/{name}": x for name, x in found.items()} if own else found


def logits(model, variables):
    picture = jnp.asarray(image(224))
    return jax.jit(lambda v: model.apply(v, {"image": picture}, train=False)["logits"])(variables)[:, :20]


@pytest.mark.parametrize("name", VITS)
def test_names_and_shapes_are_timms(name):
    model = vit.Model(**vit.REFERENCES[name])
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), {"image": jnp.zeros((1, 224, 224, 3))}, train=False))
    theirs = of_timm(*vit.sized(model.variant))
    lines = sorted(f"{name} {shape}" for name, shape in theirs.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == str(GOLDEN[f"{name} names"]), AGAIN
    assert sum(x.size for x in jax.tree.leaves(variables)) == sum(int(np.prod(shape)) for shape in theirs.values())


def test_same_logits_as_timm():
    model, variables = pretrained.load("vit_tiny_patch16_224", filled(of_timm(vit.SIZES["Ti"], 16)))
    expected = GOLDEN["timm"]
    np.testing.assert_allclose(logits(model, variables), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=AGAIN)


def test_same_logits_as_hugging_face():
    """Its LayerNorm adds 1e-12 to the variance where ours adds 1e-6: nothing to see at four digits."""
    given = filled(of_hugging_face(vit.SIZES["Ti"], 16, hub=False))
    model, variables = pretrained.load("vit_tiny_patch16_224", given)
    expected = GOLDEN["huggingface"]
    np.testing.assert_allclose(logits(model, variables), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max(), err_msg=AGAIN)
    names = zip(of_hugging_face(vit.SIZES["Ti"], 16, hub=True), of_hugging_face(vit.SIZES["Ti"], 16, hub=False), strict=True)
    hub = {name.removeprefix("vit."): given[state] for name, state in names}
    hub |= {"pooler.dense.weight": np.zeros((192, 192)), "pooler.dense.bias": np.zeros(192)}
    assert same(pretrained.load("vit_tiny_patch16_224", hub)[1], variables)


def same(a, b):
    a, b = flat(a), flat(b)
    return a.keys() == b.keys() and all(np.array_equal(a[path], b[path]) for path in a)


@pytest.mark.parametrize("own", [False, True])
def test_the_npz_of_vit_jax_and_big_vision(own, tmp_path):
    size = vit.SIZES["Ti"]
    arrays = filled(of_timm(size, 16, classes=5, side=64))
    if own:
        arrays["pos_embed"][:, 0] = 0
    _, expected = pretrained.load("vit_tiny_patch16_224", arrays)
    np.savez(tmp_path / "vit.npz", **of_jax(arrays, size.heads, own))
    model, variables = pretrained.load("big_vision_Ti/16", tmp_path / "vit.npz")
    assert same(variables, expected)
    assert (model.activation, model.num_classes, model.position) == ("gelu_tanh", 5, "learned")


@pytest.mark.parametrize("library", ["timm", "huggingface", "big_vision"])
def test_written_as_the_library_has_it(library, tmp_path, monkeypatch):
    size = vit.SIZES["Ti"]
    monkeypatch.setitem(vit.REFERENCES, "someone/vit-tiny", {"variant": "Ti/16", "num_classes": 1000})
    name = {"timm": "vit_tiny_patch16_224", "huggingface": "someone/vit-tiny", "big_vision": "big_vision_Ti/16"}[library]
    theirs = filled(of_hugging_face(size, 16, hub=True) if library == "huggingface" else of_timm(size, 16, classes=5, side=64))
    theirs = of_jax(theirs, size.heads, own=False) if library == "big_vision" else theirs
    _, variables = pretrained.load(name, theirs)
    pretrained.save(name, variables, tmp_path / "w.npz")
    written = pretrained.read(tmp_path / "w.npz")
    assert written.keys() == theirs.keys() and all(np.array_equal(written[key], theirs[key]) for key in theirs)
    assert same(pretrained.load(name, tmp_path / "w.npz")[1], variables)


def test_a_last_layer_of_no_classes_is_named():
    arrays = filled(of_timm(vit.SIZES["Ti"], 16, classes=0, side=64))
    with pytest.raises(UserError, match="last layer of no classes"):
        pretrained.load("vit_tiny_patch16_224", arrays)


def test_arrays_that_do_not_fit_are_named():
    """No array is dropped, none is filled by guessing, and whatever its shape nothing but a UserError is raised."""
    arrays = filled(of_timm(vit.SIZES["Ti"], 16, classes=5, side=64))
    blocks = {"blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.bias"}
    without = {name: x for name, x in arrays.items() if name != "pos_embed"}
    with pytest.raises(UserError, match="1 not in it: pos_embed"):
        pretrained.load("vit_tiny_patch16_224", without)
    with pytest.raises(UserError, match=r"two arrays are for head\.weight; one of them is 'classifier\.weight'"):
        pretrained.load("vit_tiny_patch16_224", {**arrays, "classifier.weight": arrays["head.weight"]})
    for odd in (np.float32(1), np.zeros((0, 3), np.float32), np.zeros((2, 17, 192), np.float32)):
        for name in ("cls_token", "pos_embed", *blocks):
            with pytest.raises(UserError, match=r"does not fit the model"):
                pretrained.load("vit_tiny_patch16_224", {**arrays, name: np.asarray(odd)})
    jax_arrays = of_jax(arrays, 3, own=False)
    for name in jax_arrays:
        if "encoderblock_0" in name or not name.startswith("Transformer"):
            with pytest.raises(UserError, match=r"does not fit the model|not in it"):
                pretrained.load("big_vision_Ti/16", {**jax_arrays, name: np.float32(1)})


def test_a_scanned_stack_is_written_layer_by_layer_and_nonsense_is_refused(tmp_path):
    model = vit.Model(5, "Ti/16", layers="scanned")
    variables = model.init(jax.random.key(0), {"image": jnp.zeros((1, 64, 64, 3))}, train=False)
    pretrained.save("vit_tiny_patch16_224", variables, tmp_path / "w.npz")
    third = variables["params"]["encoder"]["blocks"]["mlp"]["out"]["kernel"][2]
    np.testing.assert_array_equal(np.load(tmp_path / "w.npz")["blocks.2.mlp.fc2.weight"], third.T)
    other = {"params": {"conv": {"kernel": np.zeros((3, 3, 3, 4))}}}
    for name in ("vit_tiny_patch16_224", "google/vit-base-patch16-224", "big_vision_Ti/16"):
        with pytest.raises(UserError, match="of another model|does not fit the model"):
            pretrained.save(name, other, tmp_path / "other.npz")
    with pytest.raises(UserError, match="hold no numbers"):
        pretrained.save("vit_tiny_patch16_224", jax.eval_shape(lambda: variables), tmp_path / "other.npz")
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*folder\.npz"):
        pretrained.save("vit_tiny_patch16_224", variables, tmp_path / "folder.npz")


@pytest.mark.parametrize("layers", ["unrolled", "scanned"])
def test_training_begins_with_them_at_another_size_without_a_token_and_scanned(layers, tmp_path):
    arrays = filled(of_timm(vit.SIZES["Ti"], 16, classes=5, side=64))
    np.savez(tmp_path / "vit.npz", **arrays)
    model = vit.Model(3, "Ti/16", pool="average", layers=layers)
    begun = model.init(jax.random.key(0), {"image": jnp.zeros((1, 96, 96, 3))}, train=False)["params"]
    params, _, fresh = transfer.initialise(begun, {}, f"timm:{tmp_path / 'vit.npz'}", model)
    assert fresh == ["params/head/bias", "params/head/kernel"]
    table = jax.image.resize(arrays["pos_embed"][0, 1:].reshape(4, 4, -1), (6, 6, 192), "bilinear", antialias=False)
    np.testing.assert_allclose(params["embed"]["position"], table.reshape(36, 192), atol=1e-6)
    blocks = params["encoder"]
    third = jax.tree.map(lambda x: x[2], blocks["blocks"]) if layers == "scanned" else blocks["block3"]
    np.testing.assert_array_equal(third["attention"]["value"]["kernel"], arrays["blocks.2.attn.qkv.weight"][384:].T)
