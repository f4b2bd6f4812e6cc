"""Draw the scenes of the embedded world.

A scene is one object on a background. Everything about it is known: shape, color, texture, background, the mask of the
object, a class (shape and texture) and a caption. Scene ``i`` of seed ``s`` depends on nothing but ``(s, i)``.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

SIZE = 64
SUPERSAMPLING = 2

SHAPES = ("circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent")
COLORS = {
    "red": (214, 45, 32),
    "orange": (245, 150, 20),
    "green": (40, 165, 60),
    "cyan": (40, 190, 205),
    "blue": (45, 80, 220),
    "magenta": (205, 50, 170),
}
TEXTURES = ("plain", "striped", "dotted", "checkered")
BACKGROUNDS = ("sky", "sand", "night", "brick")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": SHAPES,
    "color": tuple(COLORS),
    "texture": TEXTURES,
    "background": BACKGROUNDS,
}
CONCEPTS = tuple(name for names in ATTRIBUTES.values() for name in names)
CLASSES = tuple(f"{texture} {shape}" for shape in SHAPES for texture in TEXTURES)


@dataclass(frozen=True)
class Scene:
    """One drawn scene and everything that is true of it.

    Attributes
    ----------
    pixels
        (64, 64, 3) uint8.
    mask
        (64, 64) uint8, 1 on the object.
    attributes
        Number of the value of each attribute in ``ATTRIBUTES``.
    """

    pixels: np.ndarray
    mask: np.ndarray
    attributes: dict[str, int]

    @property
    def label(self) -> int:
        """Number of the scene's class in ``CLASSES``."""
        return self.attributes["shape"] * len(TEXTURES) + self.attributes["texture"]

    @property
    def concepts(self) -> np.ndarray:
        """(len(CONCEPTS),) uint8, 1 where the concept is present."""
        present = {ATTRIBUTES[name][value] for name, value in self.attributes.items()}
        return np.array([concept in present for concept in CONCEPTS], dtype=np.uint8)

    @property
    def caption(self) -> str:
        """A sentence that names every attribute."""
        words = {name: ATTRIBUTES[name][value] for name, value in self.attributes.items()}
        return "a {color} {texture} {shape} on {background}".format(**words)


def draw_scene(seed: int, index: int) -> Scene:
    """Draw scene ``index`` of the world with a seed."""
    rng = np.random.default_rng([seed, index])
    attributes = {name: int(rng.integers(len(names))) for name, names in ATTRIBUTES.items()}
    x, y = _grid(SIZE * SUPERSAMPLING)
    center = rng.uniform(-0.2, 0.2, size=2)
    radius = rng.uniform(0.52, 0.74)
    angle = rng.uniform(-0.35, 0.35)
    x, y = _rotate(x - center[0], y - center[1], angle)
    inside = _shape(SHAPES[attributes["shape"]], x / radius, y / radius)
    tone = _texture(TEXTURES[attributes["texture"]], x, y, rng)
    color = np.array(list(COLORS.values())[attributes["color"]]) + rng.normal(0, 12, size=3)
    lit, share = _shrink(inside * tone)[..., None], _shrink(inside)[..., None]
    background = _background(BACKGROUNDS[attributes["background"]], rng)
    scene = lit * np.clip(color, 0, 255) + (1 - share) * background
    pixels = scene * rng.uniform(0.85, 1.1) + rng.normal(0, 5, size=scene.shape)
    mask = (share[..., 0] >= 0.5).astype(np.uint8)
    return Scene(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), mask, attributes)


@cache
def _grid(side: int) -> np.ndarray:
    """Compute the coordinates x (rightwards) and y (upwards) in [-1, 1] of each pixel: (2, side, side)."""
    axis = (np.arange(side) + 0.5) / side * 2 - 1
    return np.stack(np.meshgrid(axis, -axis))


def _rotate(x: np.ndarray, y: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def _shrink(image: np.ndarray) -> np.ndarray:
    """Average blocks of ``SUPERSAMPLING`` pixels: (S, S) to (64, 64)."""
    return image.reshape(SIZE, SUPERSAMPLING, SIZE, SUPERSAMPLING).mean(axis=(1, 3))


def _shape(name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Find the pixels inside a shape of radius 1."""
    r = np.hypot(x, y)
    if name == "circle":
        return r < 0.9
    if name == "square":
        return np.maximum(abs(x), abs(y)) < 0.8
    if name == "triangle":
        return (y > -0.7) & (y < 0.95 - 1.85 * abs(x))
    if name == "star":
        spokes = np.cos(2.5 * np.arctan2(x, y)) ** 2
        return r < 0.42 + 0.62 * spokes**2
    if name == "cross":
        return (np.minimum(abs(x), abs(y)) < 0.27) & (np.maximum(abs(x), abs(y)) < 0.95)
    if name == "ring":
        return (r > 0.52) & (r < 0.98)
    if name == "heart":
        lobe = 1.15 * y + 0.1 - 0.75 * np.sqrt(abs(x))
        return x**2 / 0.8 + lobe**2 < 0.75
    return (r < 0.98) & (np.hypot(x - 0.5, y) > 0.72)


def _texture(name: str, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Compute the brightness of the object's color at every pixel."""
    phase = rng.uniform(0, 1, size=2)
    u, v = x * 3.2 + phase[0], y * 3.2 + phase[1]
    dark = np.zeros_like(x, dtype=bool)
    if name == "striped":
        dark = (u + v) % 1.0 < 0.5
    elif name == "dotted":
        dark = np.hypot((u * 1.3) % 1 - 0.5, (v * 1.3) % 1 - 0.5) < 0.3
    elif name == "checkered":
        dark = (np.floor(u * 1.2) + np.floor(v * 1.2)) % 2 == 0
    return np.where(dark, 0.3, 1.0)


def _background(name: str, rng: np.random.Generator) -> np.ndarray:
    """Draw a background (64, 64, 3)."""
    x, y = _grid(SIZE)
    if name == "sky":
        light = (0.5 - 0.5 * y)[..., None]
        return light * np.array([235.0, 240, 250]) + (1 - light) * np.array([150.0, 190, 235])
    if name == "sand":
        ripple = np.sin(14 * y + 2 * np.sin(4 * x + rng.uniform(0, 6)))
        return np.array([222.0, 200, 150]) + 14 * ripple[..., None]
    if name == "night":
        stars = rng.random((SIZE, SIZE)) > 0.985
        return np.where(stars[..., None], 230.0, np.array([14.0, 14, 40]))
    row = np.floor((y + 1) * 4)
    mortar = ((y + 1) * 4 % 1 < 0.25) | (((x + 1) * 3 + 0.5 * (row % 2)) % 1 < 0.18)
    return np.where(mortar[..., None], np.array([190.0, 185, 180]), np.array([128.0, 72, 58]))
