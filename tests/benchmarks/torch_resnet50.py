"""ResNet50 in plain PyTorch, and its training step with AMP and channels last.

The yardstick of `train_step.py`. Strides and biases are where Keras has them, in the
first convolution of a block and in every one, so that both do the same sums. With ADL
it is at the places and the stride of its paper, as our row `resnet50`.
"""

import contextlib

import torch
from torch import nn

DTYPES = {"mixed_float16": torch.float16, "mixed_bfloat16": torch.bfloat16}


def unit(inputs, outputs, kernel, stride=1):
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2),
        nn.BatchNorm2d(outputs, eps=1.001e-5),
    )


class Bottleneck(nn.Module):
    def __init__(self, inputs, filters, stride, widens):
        super().__init__()
        self.body = nn.Sequential(
            unit(inputs, filters, 1, stride),
            nn.ReLU(inplace=True),
            unit(filters, filters, 3),
            nn.ReLU(inplace=True),
            unit(filters, 4 * filters, 1),
        )
        shortcut = unit(inputs, 4 * filters, 1, stride)
        self.shortcut = shortcut if widens else nn.Identity()

    def forward(self, x):
        return nn.functional.relu(self.body(x) + self.shortcut(x))


class ADL(nn.Module):
    """The layer of Choe and Shim, 2019, one draw a batch."""

    def forward(self, x, drop_rate=0.75, drop_threshold=0.9):
        if not self.training:
            return x
        attention = x.mean(1, keepdim=True)
        if torch.rand(()) < drop_rate:
            peak = attention.amax((1, 2, 3), keepdim=True)
            return x * (attention < drop_threshold * peak)
        return x * torch.sigmoid(attention)


def resnet50(classes, adl=False):
    parts = [unit(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for filters, blocks in zip((64, 128, 256, 512), (3, 4, 6, 3), strict=True):
        for block in range(blocks):
            halved = filters > 64 and not (adl and filters == 512)
            stride = 2 if block == 0 and halved else 1
            parts.append(Bottleneck(channels, filters, stride, block == 0))
            channels = 4 * filters
            if adl and (filters, block) in {(256, 0), (512, 0), (512, 2)}:
                parts.append(ADL())
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)]
    return nn.Sequential(*parts, *head)


def make_turn(images, class_ids, classes, policy, jit, adl=False):
    """A function of a number of steps, which it takes and waits for.

    `images` are `(B, H, W, 3)` and `class_ids` `(B,)`, as NumPy arrays.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = resnet50(classes, adl).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, momentum=0.9)
    scaler = torch.amp.GradScaler(device, enabled=policy == "mixed_float16")
    run = torch.compile(model) if jit else model
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(device)
    x = x.contiguous(memory_format=torch.channels_last)
    y = torch.from_numpy(class_ids).long().to(device)

    def autocast():
        if policy == "float32":
            return contextlib.nullcontext()
        return torch.autocast(device, dtype=DTYPES[policy])

    def turn(steps):
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with autocast():
                logits = run(x)
            loss = nn.functional.cross_entropy(logits.float(), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
        if device == "cuda":
            torch.cuda.synchronize()

    return turn
