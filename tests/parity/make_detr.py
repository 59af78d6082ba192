"""Writes detr.npz: what Hugging Face's DETR answers and what its loss is, for test_detr_parity.py.

python tests/parity/make_detr.py    # needs numpy, torch, torchvision, timm, scipy and transformers; last made with torch 2.13.0 and 5.24.0
"""

import json
from pathlib import Path

import numpy as np
import torch
from filled import fill, objects, padded
from vision import torchvision  # noqa: F401  (before timm, which imports it)

from transformers import DetrConfig, DetrForObjectDetection  # isort: skip
from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss  # isort: skip

SMALL = dict(use_timm_backbone=False, position_embedding_type="learned", num_queries=7, encoder_layers=1, decoder_layers=3, num_labels=5)
NETS = {
    "small": SMALL,
    "facebook/detr-resnet-50": dict(num_labels=91),
    "facebook/detr-resnet-50-dc5": dict(num_labels=91, dilation=True, encoder_layers=1, decoder_layers=1),
}


def layers(net: DetrForObjectDetection, image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and boxes of every decoder layer, l b q k and l b q 4. (auxiliary_loss=True would normalise between the layers.)"""
    found: list[torch.Tensor] = []
    hooks = [layer.register_forward_hook(lambda module, inputs, out: found.append(out)) for layer in net.model.decoder.layers]
    out = net(pixel_values=image, pixel_mask=mask)
    for hook in hooks:
        hook.remove()
    normed = net.model.decoder.layernorm(torch.stack(found))
    logits, boxes = net.class_labels_classifier(normed), net.bbox_predictor(normed).sigmoid()
    assert torch.allclose(logits[-1], out.logits, atol=1e-5) and torch.allclose(boxes[-1], out.pred_boxes, atol=1e-5)
    return logits, boxes


if __name__ == "__main__":
    torch.set_num_threads(1)
    picture, mask = padded()
    pixels, inside = torch.from_numpy(picture).permute(0, 3, 1, 2), torch.from_numpy(mask).long()
    labels = [{"class_labels": torch.from_numpy(classes), "boxes": torch.from_numpy(boxes)} for classes, boxes in objects()]
    golden = {}
    for name, settings in NETS.items():
        net = DetrForObjectDetection(DetrConfig(**settings)).eval()
        state = {key: value for key, value in net.state_dict().items() if not key.endswith("num_batches_tracked")}
        for key, value in state.items():
            value.copy_(torch.from_numpy(fill(key, tuple(value.shape))))
        with torch.no_grad():
            logits, boxes = layers(net, pixels, inside)
        golden[f"{name}/shapes"] = np.array(json.dumps({key: tuple(value.shape) for key, value in state.items()}))
        golden[f"{name}/parameters"] = np.array(sum(p.numel() for p in net.parameters()))
        golden[f"{name}/logits"], golden[f"{name}/boxes"] = (x.transpose(0, 1)[:, :, ::6].numpy() for x in (logits, boxes))
        if name == "small":
            net.config.auxiliary_loss = True
            total, parts, _ = ForObjectDetectionLoss(logits[-1], labels, "cpu", boxes[-1], net.config, logits, boxes)
            golden |= {f"{name}/{part}": np.array(float(value)) for part, value in {**parts, "loss": total}.items()}
            golden[f"{name}/all_logits"], golden[f"{name}/all_boxes"] = (x.transpose(0, 1).numpy() for x in (logits, boxes))
    np.savez_compressed(Path(__file__).with_name("detr.npz"), **golden)
    print({key: (value.shape, value.dtype) for key, value in golden.items()})
