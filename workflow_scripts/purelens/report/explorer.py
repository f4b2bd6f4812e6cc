"""The rule ``explorer``: write the page that opens all others, and the explorer in one file."""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from markupsafe import Markup

from purelens.report.data import as_script, data_script, read_data
from purelens.report.overview import benchmarks, lenses, overview, ratios
from purelens.report.templates import OPENS_WITHIN_A_PAGE, TEMPLATES_FOLDER, render
from purelens.storage.files import replace_folder_when_whole, replace_when_whole

SCRIPTS = ("core.js", "overview.js", "grid.js", "neuron.js", "clip.js", "main.js")
STYLE = "explorer.css"
PLOTLY = "plotly.min.js"


def explorer(
    pages: Sequence[str],
    lens_pages: Sequence[str],
    index_html: str,
    assets: str,
    explorer_html: str,
    excerpt_html: str,
    benchmarks_folder: str,
    ratios_csv: str,
    single_file_megabytes: int = 8,
) -> None:
    """Write the explorer around the pages of all layers.

    Parameters
    ----------
    pages
        Folders of the rule ``pages``.
    lens_pages
        Folders of the rule ``lens_pages``.
    index_html
        The page that is opened; it finds ``layers/`` and ``assets/`` beside it.
    assets
        Folder of scripts and styles.
    explorer_html
        The explorer in one file, with the neurons of each layer that have the largest gaps.
    excerpt_html
        The same without charts and whole images, so small that it opens within Snakemake's report.
    benchmarks_folder, ratios_csv
        Time and memory of all jobs, as Snakemake writes them, and the table of the benchmark, where it was run. Relative to
        the folder of ``index_html``: no path of a results folder decides what is in the page.
    single_file_megabytes
        Largest size of the explorer in one file.
    """
    import plotly.offline

    layers = [read_data(Path(folder) / "layer.js") for folder in pages]
    here = Path(index_html).parent
    facts = {
        "layers": overview(layers),
        "lenses": lenses([read_data(Path(folder) / "lens.js") for folder in lens_pages]),
        "benchmarks": benchmarks(here / benchmarks_folder),
        "ratios": ratios(here / ratios_csv),
    }
    sources = {name: (TEMPLATES_FOLDER / name).read_text(encoding="utf-8") for name in (*SCRIPTS, STYLE)}
    sources[PLOTLY] = plotly.offline.get_plotlyjs()
    with replace_folder_when_whole(assets) as made:
        for name, source in sources.items():
            (made / name).write_text(source, encoding="utf-8")
    write_page(index_html, page_text(facts))
    alone = partial(write_alone, facts=facts, layers=layers, pages=pages)
    alone(explorer_html, sources=sources, size=single_file_megabytes * 2**20)
    small = {name: source for name, source in sources.items() if name != PLOTLY}
    alone(excerpt_html, sources=small, size=OPENS_WITHIN_A_PAGE, whole_images=False)


def write_alone(
    path: str,
    facts: dict[str, Any],
    layers: Sequence[dict[str, Any]],
    pages: Sequence[str],
    sources: dict[str, str],
    size: int,
    whole_images: bool = True,
) -> None:
    """Write the explorer in one file.

    Parameters
    ----------
    path
        The file.
    facts
        What the first screen shows.
    layers, pages
        What the rule ``pages`` wrote of each layer, and its folder.
    sources
        Scripts and styles by name.
    size
        Largest size, in bytes.
    whole_images
        Whether whole images are in it.
    """
    room = size - len(page_text(facts, sources).encode())
    write_page(path, page_text(facts, sources, take_best(layers, pages, room, whole_images)))


def write_page(path: str, page: str) -> None:
    """Write a page atomically."""
    with replace_when_whole(path) as made:
        made.write_text(page, encoding="utf-8")


def page_text(facts: dict[str, Any], sources: dict[str, str] | None = None, excerpt: Sequence[str] = ()) -> str:
    """Fill in the template of the explorer.

    Parameters
    ----------
    facts
        What the first screen shows.
    sources
        Scripts and styles by name, to be put into the page; None: it loads them.
    excerpt
        Scripts that hold data, to be put into the page.

    Returns
    -------
    str
        HTML.
    """
    data = as_script(facts)
    inline = {name: Markup(source.replace("</script", "<\\/script")) for name, source in (sources or {}).items()}
    return render(
        "index.html",
        facts=facts,
        data=Markup(data),
        nonce=_nonce(data, excerpt),
        scripts=SCRIPTS,
        style=STYLE,
        plotly=PLOTLY,
        inline=inline,
        excerpt=[Markup(script) for script in excerpt],
    )


def _nonce(*parts: str | Sequence[str]) -> str:
    """Digest what a page shows: a name in it that would be a program cannot know the digest of the page that it is in."""
    digest = hashlib.sha256()
    for part in parts:
        for text in [part] if isinstance(part, str) else part:
            digest.update(text.encode())
    return digest.hexdigest()[:32]


def take_best(
    layers: Sequence[dict[str, Any]], folders: Sequence[str], budget: int, whole_images: bool = True
) -> list[str]:
    """Take as many neurons of each layer as fit, those with the largest gaps first.

    Parameters
    ----------
    layers, folders
        What the rule ``pages`` wrote of each layer, and its folder.
    budget
        Bytes of all layers together.
    whole_images
        Whether whole images are taken too.

    Returns
    -------
    list
        Scripts that hold the data and pictures.
    """
    taken: list[str] = []
    for layer, folder in zip(layers, folders, strict=True):
        room = budget // len(layers)
        rows: list[int] = []
        for row, scripts in _by_gap(layer, Path(folder), whole_images):
            room -= sum(map(len, scripts))
            if room < 0:
                break
            rows.append(row)
            taken += scripts
        taken.append(data_script(f"{layer['facts']['key']}/layer", _only(layer, rows)))
    return taken


def _by_gap(layer: dict[str, Any], folder: Path, whole_images: bool) -> Iterator[tuple[int, list[str]]]:
    """Yield the row and the scripts of each neuron, largest gap first; each picture comes once."""
    key, seen = layer["facts"]["key"], set()
    gap = layer["table"]["gap"][str(layer["facts"]["k"])]
    for row in sorted(range(len(gap)), key=lambda row: -(gap[row] if gap[row] is not None else float("-inf"))):
        number = layer["table"]["neurons"][row]
        data = read_data(folder / f"neurons/{number}.js")
        scripts = [data_script(f"{key}/neurons/{number}", data)]
        images = [f"images/{data['images'][shown['index']]}.jpg" for shown in data["shown"]]
        for name in [*([f"neurons/{number}.jpg"] if images else []), *(images if whole_images else [])]:
            if name not in seen:
                seen.add(name)
                picture = base64.b64encode((folder / name).read_bytes()).decode()
                scripts.append(f'PureLens.add_file({as_script(f"{key}/{name}")},"data:image/jpeg;base64,{picture}");')
        yield row, scripts


def _only(layer: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """Keep some neurons of a layer."""
    rows = sorted(rows)
    table: dict[str, Any] = {}
    for name, values in layer["table"].items():
        if isinstance(values, dict):
            table[name] = {k: [column[row] for row in rows] for k, column in values.items() if column}
        else:
            table[name] = [values[row] for row in rows]
    return {
        "facts": layer["facts"],
        "table": table,
        "lines": [layer["lines"][row] for row in rows],
        "left_out": len(layer["lines"]) - len(rows),
    }
