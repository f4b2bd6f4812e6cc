"""ResNet-50 V2 (He et al. 2016), first three stages and a linear head: blocks that normalize before they convolve."""

import torch
from torch import nn
from torch.nn import functional


class Bottleneck(nn.Module):
    """A pre-activation bottleneck; the first of a stage projects its shortcut."""

    def __init__(self, n_in: int, n_out: int, stride: int, project: bool) -> None:
        super().__init__()
        width = n_out // 4
        self.bn1 = nn.BatchNorm2d(n_in)
        self.conv1 = nn.Conv2d(n_in, width, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, n_out, 1, bias=False)
        self.downsample = nn.Conv2d(n_in, n_out, 1, stride, bias=False) if project else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = functional.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(out)
        out = functional.relu(self.bn2(self.conv1(out)))
        out = functional.relu(self.bn3(self.conv2(out)))
        return self.conv3(out) + shortcut


class ResNetV2(nn.Module):
    """The trunk to the end of stage 3, and a linear head on its spatial mean."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.bn0 = nn.BatchNorm2d(3)
        self.conv0 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = self._stage(64, 256, 3, 1)
        self.layer2 = self._stage(256, 512, 4, 2)
        self.layer3 = self._stage(512, 1024, 6, 2)
        self.bn_out = nn.BatchNorm2d(1024)
        self.head = nn.Linear(1024, num_classes)

    @staticmethod
    def _stage(n_in: int, n_out: int, blocks: int, stride: int) -> nn.Sequential:
        first = Bottleneck(n_in, n_out, stride, project=True)
        return nn.Sequential(first, *(Bottleneck(n_out, n_out, 1, project=False) for _ in range(blocks - 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(functional.relu(self.bn1(self.conv0(self.bn0(x)))))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.head(functional.relu(self.bn_out(x)).mean(dim=(2, 3)))


def resnet50_v2_trunk(num_classes: int = 10) -> ResNetV2:
    """Build the trunk of a ResNet-50 V2 with a head."""
    return ResNetV2(num_classes)
