"""Search a network that is no classifier, by a score of your own: python examples/own_task.py [--output DIR]

A small U-Net tells squares from discs, pixel by pixel, and is judged by its mean IoU. Network, pictures and score stand
for yours. A few minutes on a CPU.
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import gaprune

CLASSES, SIDE = 3, 32
"""Background, squares and discs; pixels of a side."""


def shapes(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """(count, 3, SIDE, SIDE) noisy pictures of a square and a disc, and (count, SIDE, SIDE) the class of each pixel."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    middles = torch.randint(8, SIDE - 8, (count, 2, 2, 1, 1), generator=draw)
    away = (rows - middles[:, :, 0]).abs(), (columns - middles[:, :, 1]).abs()
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.int64)
    masks[torch.maximum(away[0][:, 0], away[1][:, 0]) < 5] = 1
    masks[(away[0][:, 1] ** 2 + away[1][:, 1] ** 2) < 36] = 2
    colours = 0.3 * torch.rand(count, CLASSES, 3, generator=draw)
    colours[:, 1:] += 0.7
    pictures = colours.gather(1, masks.flatten(1)[:, :, None].expand(-1, -1, 3)).transpose(1, 2)
    noise = 0.1 * torch.randn(count, 3, SIDE, SIDE, generator=draw)
    return pictures.reshape(count, 3, SIDE, SIDE) + noise, masks


def block(inputs: int, outputs: int) -> nn.Sequential:
    """Two convolutions with batch norm."""
    layers: list[nn.Module] = []
    for into in (inputs, outputs):
        layers += [nn.Conv2d(into, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Two levels down, two up, with the maps of each level carried across; gives a dict, as segmenters do."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        self.down1, self.down2 = block(3, width), block(width, 2 * width)
        self.middle = block(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.merge2, self.merge1 = block(4 * width, 2 * width), block(2 * width, width)
        self.head = nn.Conv2d(width, CLASSES, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(N, CLASSES, H, W) logits of each pixel, under ``out``."""
        first = self.down1(x)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.middle(F.max_pool2d(second, 2))
        x = self.merge2(torch.cat([self.up2(x), second], 1))
        return {"out": self.head(self.merge1(torch.cat([self.up1(x), first], 1)))}


def mean_iou(network: nn.Module, pictures: Tensor, masks: Tensor) -> float:
    """Mean over the classes of intersection over union."""
    device = next(network.parameters()).device
    found = torch.cat([network(batch.to(device))["out"].argmax(1).cpu() for batch in pictures.split(64)])
    both = [
        ((found == kind) & (masks == kind)).sum() / ((found == kind) | (masks == kind)).sum() for kind in range(CLASSES)
    ]
    return float(torch.stack(both).mean())


def train(network: nn.Module, pictures: Tensor, masks: Tensor, steps: int, lr: float = 3e-3) -> None:
    """Some steps of Adam, at a rate that rises and falls again."""
    optimizer = torch.optim.Adam(network.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    draw = torch.Generator().manual_seed(0)
    network.train()
    for _ in range(steps):
        some = torch.randint(len(pictures), (32,), generator=draw)
        loss = F.cross_entropy(network(pictures[some])["out"], masks[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    network.eval()


def main() -> None:
    """Train, search, and train the member that is picked a little more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="runs/shapes", help="the run directory, a new one")
    parser.add_argument("--steps", type=int, default=200, help="of the original's training")
    parser.add_argument("--population", type=int, default=12)
    parser.add_argument("--generations", type=int, default=6)
    options = parser.parse_args()

    torch.manual_seed(0)
    pictures, masks = shapes(1024, seed=1)
    held_out, test = shapes(128, seed=2), shapes(128, seed=3)
    network = UNet()
    train(network, pictures, masks, options.steps)

    task = gaprune.Task(
        inputs=pictures[:2],
        calibration=list(pictures[:256].split(64)),  # without masks
        score=lambda net: mean_iou(net, *held_out),
        test=lambda net: mean_iou(net, *test),
        name="mean IoU",
        train=lambda net: train(net, pictures, masks, options.steps // 4, lr=1e-3),
    )
    result = gaprune.search(
        network,
        task=task,
        population=options.population,
        generations=options.generations,
        output=options.output,
        device="cpu",
    )
    whole, before = mean_iou(network, *test), mean_iou(result.load(), *test)  # load(3) is member 3
    trained = gaprune.finetune(result.path, model=network, task=task, device="cpu")
    after = mean_iou(trained.load(), *test)
    print(f"mean IoU on test pictures: original {whole:.4f}, picked {before:.4f}, handed out {after:.4f}")


if __name__ == "__main__":
    main()
