"""Draw the figure of a neuron as the program of PURE does, to be timed."""

from pathlib import Path

import matplotlib as mpl
import seaborn as sns
from matplotlib import pyplot as plt
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from purelens.bench import published
from purelens.bench.setting import Setting
from purelens.storage.reading import read

MOST_PATCHES = 20


def published_figure(setting: Setting, collected: Path, n_references: int, relevances_h5: str) -> None:
    """Explain the references of a neuron again, project their circuits, and draw the patches over their density.

    Parameters
    ----------
    setting, collected, n_references
        As for `purelens.bench.published.patches`.
    relevances_h5
        Artifact of the rule ``relevances``.
    """
    from umap import UMAP

    mpl.use("Agg")
    drawn = published.patches(setting, collected, setting.neurons, n_references, published.framed)[0]
    with read(relevances_h5, "relevances") as file:
        vectors = file[f"relevance/{setting.study.lower_layer}"][0]
    points = UMAP(n_neighbors=6, random_state=0).fit_transform(vectors)
    figure, axes = plt.subplots(figsize=(6, 6))
    sns.kdeplot(x=points[:, 0], y=points[:, 1], ax=axes, fill=True, alpha=0.3, warn_singular=False)
    axes.scatter(points[:, 0], points[:, 1], s=9)
    for picture, point in list(zip(drawn, points, strict=True))[:MOST_PATCHES]:
        axes.add_artist(AnnotationBbox(OffsetImage(picture.resize((96, 96)), zoom=0.4), tuple(point)))
    figure.savefig(setting.folder / "published.png", dpi=200)
    plt.close(figure)
