"""ResNet-50, and StNet on it, in PyTorch: torchvision's layers written out, since only their speed is asked for.

Imported by the benchmarks in a Python that has PyTorch, never by the zoo.
"""

import torch
from torch import nn

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))


def unit(inputs, outputs, kernel, stride=1, relu=True):
    layers = [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]
    return nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))


class Block(nn.Module):
    def __init__(self, inputs, width, stride):
        super().__init__()
        self.path = nn.Sequential(
            unit(inputs, width, 1), unit(width, width, 3, stride), unit(width, 4 * width, 1, relu=False)
        )
        same = inputs == 4 * width and stride == 1
        self.shortcut = nn.Identity() if same else unit(inputs, 4 * width, 1, stride, relu=False)

    def forward(self, x):
        return torch.relu_(self.path(x) + self.shortcut(x))


def stages(channels=3):
    """[stem and stage 2, stage 3, stage 4, stage 5]."""
    found, inputs = [], 64
    for width, count, stride in STAGES:
        blocks = []
        for i in range(count):
            blocks.append(Block(inputs, width, stride if i == 0 else 1))
            inputs = 4 * width
        found.append(nn.Sequential(*blocks))
    return [nn.Sequential(unit(channels, 64, 7, 2), nn.MaxPool2d(3, 2, 1), found[0]), *found[1:]]


def resnet50(classes):
    return nn.Sequential(*stages(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, classes))


class TSN(nn.Module):
    """[B, T, 3, H, W] -> [B, classes]."""

    def __init__(self, classes):
        super().__init__()
        self.features, self.classifier = (
            nn.Sequential(*stages(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            nn.Linear(2048, classes),
        )

    def forward(self, x):
        frames = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return self.classifier(self.features(frames).view(*x.shape[:2], -1).mean(1))


class Temporal(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv, self.norm = nn.Conv3d(channels, channels, (3, 1, 1), padding=(1, 0, 0)), nn.BatchNorm3d(channels)

    def forward(self, x, segments):
        video = x.unflatten(0, (-1, segments)).transpose(1, 2)
        video = video + self.norm(torch.relu(self.conv(video)))
        return video.transpose(1, 2).flatten(0, 1)


class StNet(nn.Module):
    """[B, T, 15, H, W] -> [B, classes]."""

    def __init__(self, classes):
        super().__init__()
        self.stages = nn.ModuleList(stages(15))
        self.temporal = nn.ModuleList([Temporal(512), Temporal(1024)])
        self.first, self.last, self.pool = nn.BatchNorm1d(2048), nn.BatchNorm1d(1024), nn.AdaptiveAvgPool2d(1)
        self.shortcut, self.classifier = nn.Conv1d(2048, 1024, 1), nn.Linear(1024, classes)
        self.path = nn.Sequential(
            nn.Conv1d(2048, 2048, 3, padding=1, groups=2048),
            nn.Conv1d(2048, 1024, 1),
            nn.BatchNorm1d(1024),
            nn.ReLU(),
            nn.Conv1d(1024, 1024, 3, padding=1, groups=1024),
            nn.Conv1d(1024, 1024, 1),
        )

    def forward(self, x):
        segments = x.shape[1]
        y = x.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        y = self.temporal[0](self.stages[1](self.stages[0](y)), segments)
        y = self.temporal[1](self.stages[2](y), segments)
        y = self.pool(self.stages[3](y)).flatten(1).view(-1, segments, 2048).transpose(1, 2)
        y = self.first(y)
        return self.classifier(torch.relu(self.last(self.shortcut(y) + self.path(y))).amax(2))
