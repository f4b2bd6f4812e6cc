"""The explorer in a real browser, from the disk: every page, every control, and names that would like to be programs."""

import base64
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from purelens.report.data import as_script, read_data, write_data
from purelens.report.explorer import explorer
from support.browser import CLASSES, EVIL, RTL, Watched, needs_browser
from support.pages import MadeUpLayer, write_images

WIDTHS = (900, 1400, 2560)

ROUTES = {"overview": "", "grid": "#net/layer2", "neuron": "#net/layer2/neuron/1", "dead": "#net/layer2/neuron/4"}
ROUTES |= {"lens": "#lens/small_clip", "part": "#lens/small_clip/1/neuron/70", "image": "#lens/small_clip/image/7"}


@needs_browser
@pytest.mark.parametrize("file", ["index.html", "explorer.html", "excerpt.html"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_opens_and_fits(
    chromium: Any, report: Path, tmp_path: Path, file: str, scheme: str, width: int
) -> None:
    context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    watched = Watched(context.new_page())
    for name, route in ROUTES.items():
        page = watched.open(report / file, route)
        page.wait_for_timeout(100)
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), (
            name,
            width,
        )
        assert page.locator(".view:visible").count() == 1
        assert page.screenshot(path=tmp_path / f"{name}.png")
        background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 200) == (scheme == "dark")
    context.close()
    assert watched.complaints == []


@needs_browser
def test_hostile_names_are_text(watched: Watched, report: Path) -> None:
    for route in [*ROUTES.values(), "#net/layer2?q=x", "#net/layer2/neuron/0?by=activations&k=3"]:
        page = watched.open(report / "index.html", route)
        page.wait_for_timeout(100)
        assert page.evaluate("window.stolen") is None
        assert page.locator("img[src=x]").count() == 0
    page = watched.open(report / "index.html", "")
    page.locator("details summary", has_text="Rejected images").first.click()
    assert page.get_by_text(f"bad{EVIL}.png").first.is_visible()
    page = watched.open(report / "index.html", ROUTES["neuron"])
    assert page.get_by_text("<script>window.stolen=1</script>").count() > 0
    for place in range(page.locator(".virtual .patch").count()):
        page.locator(".virtual .patch").nth(place).click()
        assert page.locator("dialog .image img").is_visible()
        page.keyboard.press("Escape")
    assert page.evaluate("window.stolen") is None


FOREIGN = """(() => {
  const script = document.createElement("script");
  script.textContent = "window.stolen = 1";
  const element = document.createElement("div");
  element.innerHTML = '<button onclick="window.stolen = 2">x</button>';
  const loaded = document.createElement("script");
  loaded.src = URL;
  document.body.append(script, element, loaded);
  element.firstChild.click();
})()"""


@needs_browser
@pytest.mark.parametrize("file", ["index.html", "explorer.html"])
def test_no_other_program_runs_in_the_page(chromium: Any, report: Path, tmp_path: Path, file: str) -> None:
    """Even where one gets into the page: inline, in an attribute, and from a file."""
    (tmp_path / "foreign.js").write_text("window.stolen = 3")
    page = chromium.new_page()
    page.goto(f"file://{report / file}")
    page.wait_for_selector("html[data-view]")
    page.evaluate(FOREIGN.replace("URL", f"'file://{tmp_path}/foreign.js'"))
    page.wait_for_timeout(200)
    assert page.evaluate("window.stolen") is None
    page.close()


def numbers(page: Any) -> list[int]:
    return [int(text) for text in page.locator(".neuron .head b").all_inner_texts()]


@needs_browser
def test_search_sort_and_filter_are_in_the_link(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html", "#net/layer2")
    assert sorted(numbers(page)) == [0, 1, 2, 3, 4, 5]
    page.get_by_label("sort by").select_option("number")
    assert numbers(page) == [0, 1, 2, 3, 4, 5]
    page.get_by_label("search").fill("3")
    assert numbers(page) == [3]
    assert "q=3" in page.url
    assert "sort=number" in page.url
    page.reload()
    page.wait_for_selector(".neuron")
    assert numbers(page) == [3]
    assert page.get_by_label("search").input_value() == "3"
    page.get_by_label("search").fill("no such class")
    assert numbers(page) == []
    page.get_by_label("search").fill('it\'s "quoted"')
    assert len(numbers(page)) > 0
    page.get_by_label("search").fill("")
    page.get_by_label("show").select_option("dead")
    assert numbers(page) == [4]
    assert "no image activates it" in page.locator(".neuron").inner_text()
    table = read_data(report / "layers/photos/net/layer2/layer.js")["table"]
    page = watched.open(report / "index.html", "#net/layer2?sort=alignment")
    expected = sorted(
        (row for row in range(6) if table["alignment"][row] is not None), key=lambda row: -table["alignment"][row]
    )
    assert numbers(page)[:5] == expected


@needs_browser
def test_a_link_to_a_neuron_survives_reload(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html", "#net/layer2/neuron/2?by=activations&k=3")
    page.wait_for_selector(".virtual")
    for _ in range(2):
        assert page.locator(".title h1").inner_text() == "neuron 2"
        assert page.locator(".switch a[aria-current]").all_inner_texts() == ["activations", "3"]
        assert page.locator(".virtual").count() == 3
        page.reload()
        page.wait_for_selector(".virtual")


@needs_browser
def test_the_toggle_shows_the_stored_clustering(watched: Watched, report: Path) -> None:
    data = read_data(report / "layers/photos/net/layer2/neurons/1.js")
    page = watched.open(report / "index.html", "#net/layer2/neuron/1")
    for link, method in (("activations", "activations"), ("clip", "embedder:clip"), ("PURE, layer1", "pure:layer1")):
        page.get_by_role("link", name=link, exact=True).click()
        page.wait_for_selector(f".switch a[aria-current]:text-is('{link}')")
        label = data["clusterings"][method]["2"]["label"]
        counts = [label.count(part) for part in sorted(set(label))]
        sizes = [f"{n} of {len(label)} references ({100 * n / len(label):.0f} %)" for n in counts]
        assert [text.strip() for text in page.locator(".virtual h2 small").all_inner_texts()] == sizes


@needs_browser
def test_circuits_lead_to_lower_neurons(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html", "#net/layer2/neuron/1")
    page.wait_for_selector(".bars a.lower img")
    first = page.locator(".virtual .bars a.lower").first
    number = first.inner_text()
    first.click()
    page.wait_for_selector(".title .up:text-is('net/layer1')")
    assert page.locator(".title h1").inner_text() == f"neuron {number}"
    assert page.locator(".note", has_text="layer0 are not shown").is_visible()


@needs_browser
def test_the_keyboard_alone(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html", "#net/layer2?sort=number")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.place") == "1"
    page.keyboard.press("Enter")
    page.wait_for_selector(".title h1")
    assert page.locator(".title h1").inner_text() == "neuron 1"
    page.keyboard.press("ArrowRight")
    page.wait_for_selector(".title h1 b:text-is('2')")
    page.keyboard.press("ArrowLeft")
    page.wait_for_selector(".title h1 b:text-is('1')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".wall", state="visible")
    assert "sort=number" in page.url
    assert page.evaluate("document.activeElement.dataset.place") == "1"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.type") == "search"


@needs_browser
def test_a_switch_keeps_the_focus(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html", "#net/layer2/neuron/1")
    for name in ("activations", "3"):
        page.locator(f".switch a:text-is('{name}')").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(f".switch a[aria-current]:text-is('{name}')")
        assert page.evaluate("document.activeElement.textContent") == name


@needs_browser
def test_the_last_click_wins(watched: Watched, report: Path) -> None:
    """The data of the first neuron come after somebody has gone on to the second."""
    page = watched.page
    held: list[Any] = []
    page.route("**/neurons/1.js", lambda route: held.append(route))
    watched.open(report / "index.html", "#net/layer2")
    page.evaluate("location.hash = '#net/layer2/neuron/1'")
    page.wait_for_timeout(200)
    page.evaluate("location.hash = '#net/layer2/neuron/2'")
    page.wait_for_selector(".title h1 b:text-is('2')")
    held[0].continue_()
    page.wait_for_timeout(300)
    assert page.locator(".title h1").inner_text() == "neuron 2"
    page.evaluate("location.hash = '#net/layer2/neuron/1'")
    page.wait_for_selector(".title h1 b:text-is('1')")


@needs_browser
def test_a_neuron_that_is_not_there_leads_back(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html", "#net/layer2/neuron/99999?sort=number")
    assert page.get_by_text("There is no such neuron.").is_visible()
    page.keyboard.press("Escape")
    page.wait_for_selector(".wall", state="visible")
    assert "#net/layer2?sort=number" in page.url


@needs_browser
def test_a_name_does_not_turn_what_stands_beside_it(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html", "#net/layer2/neuron/1")
    names = page.locator(".virtual .classes bdi")
    assert RTL in names.all_inner_texts()
    isolated = names.evaluate_all("elements => elements.map(element => getComputedStyle(element).unicodeBidi)")
    assert set(isolated) == {"isolate"}


@needs_browser
def test_hover_enlarges_a_patch_of_the_map(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html", "#net/layer2/neuron/1")
    point = page.locator(".map .point").first
    point.scroll_into_view_if_needed()
    before = point.bounding_box()
    point.hover(force=True)
    page.wait_for_timeout(300)
    assert point.bounding_box()["width"] > 3 * before["width"]


@needs_browser
def test_the_whole_image_with_its_heatmap(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html", "#net/layer2/neuron/1")
    page.locator(".virtual .patch").first.click()
    canvas = page.locator("dialog canvas")
    assert canvas.is_visible()
    assert page.evaluate("document.querySelector('dialog img').naturalWidth") == 32
    drawn = page.evaluate("[...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 8, 8).data]")
    assert max(drawn[3::4]) > 100
    page.locator("dialog input").uncheck()
    assert not canvas.is_visible()


@needs_browser
@pytest.mark.parametrize("view", ["overview", "grid", "neuron"])
def test_nothing_jumps_while_pictures_load(watched: Watched, report: Path, view: str) -> None:
    """Cumulative layout shift, after the first view is there."""
    page = watched.open(report / "index.html", ROUTES[view])
    page.wait_for_timeout(500)
    shift = """new Promise(resolve => new PerformanceObserver(list => resolve(
        list.getEntries().reduce((sum, entry) => sum + entry.value, 0)
    )).observe({type: 'layout-shift', buffered: true}) || setTimeout(() => resolve(0), 300))"""
    assert page.evaluate(shift) < 0.05


@needs_browser
def test_the_theme_is_remembered(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.get_by_label("Light or dark").click()
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


@needs_browser
def test_the_file_with_everything_needs_no_other(watched: Watched, report: Path, tmp_path: Path) -> None:
    shutil.copy(report / "explorer.html", tmp_path / "explorer.html")
    page = watched.open(tmp_path / "explorer.html", "#net/layer2/neuron/1")
    page.wait_for_selector(".virtual")
    page.locator(".virtual .patch").first.click()
    assert page.evaluate("document.querySelector('dialog img').naturalWidth") == 32


@needs_browser
def test_the_excerpt_opens_within_snakemakes_report(watched: Watched, report: Path, tmp_path: Path) -> None:
    """There it is the source of a frame, as base64."""
    data = base64.b64encode((report / "excerpt.html").read_bytes()).decode()
    (tmp_path / "report.html").write_text(f'<iframe src="data:text/html;base64,{data}" width=1200 height=800></iframe>')
    watched.page.goto(f"file://{tmp_path}/report.html")
    frame = watched.page.frame_locator("iframe")
    frame.locator(".example").first.click()
    frame.locator(".virtual .patch").first.click()
    assert frame.get_by_text("The image itself is in the folder").is_visible()


@needs_browser
def test_unknown_links_lead_somewhere(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html", "#no/such/layer")
    assert page.locator("#overview").is_visible()
    page = watched.open(report / "index.html", "#net/layer2/neuron/1?by=nothing&k=99")
    page.wait_for_selector(".switch")
    assert page.locator(".switch a[aria-current]").all_inner_texts() == ["PURE, layer1", "2"]


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(chromium: Any, report: Path, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for every text color against the background of a card and of the page."""
    context = chromium.new_context(color_scheme=scheme)
    page = Watched(context.new_page()).open(report / "index.html")
    names = ["ink", "quiet", "link", "card", "paper", *(f"c{number}" for number in range(8))]
    style = "getComputedStyle(document.documentElement).getPropertyValue('--{}').trim()"
    colors = {name: page.evaluate(style.format(name)) for name in names}
    context.close()
    for name in colors.keys() - {"card", "paper"}:
        for ground in ("card", "paper"):
            assert contrast(colors[name], colors[ground]) >= 4.5, (name, ground)


def contrast(one: str, other: str) -> float:
    """Contrast of two colors, as WCAG defines it."""

    def luminance(color: str) -> float:
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted([luminance(one), luminance(other)], reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_data_cannot_end_the_script(tmp_path: Path) -> None:
    values = {"name": "</script><script>", "number": float("nan"), "list": [1, RTL]}
    assert "<" not in as_script(values)
    write_data(tmp_path / "a.js", "a/b", values)
    assert read_data(tmp_path / "a.js") == {"name": "</script><script>", "number": None, "list": [1, RTL]}


def test_the_same_artifacts_give_the_same_bytes(report: Path, tmp_path: Path) -> None:
    files = (report.parents[1] / "upper", report.parents[1] / "images.h5")
    layer = MadeUpLayer(*files, "layer2", "layer1", dead=(4,), words=(*CLASSES, "zebra", "null"))
    again = Path(layer.pages(tmp_path, "photos", "net", patch_size=24, image_size=32))
    before = report / "layers/photos/net/layer2"
    names = sorted(path.relative_to(before) for path in before.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((before / name).read_bytes() == (again / name).read_bytes() for name in names)


@needs_browser
def test_the_split_whose_number_was_chosen_is_shown_first(watched: Watched, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (80, 16, 16, 3), dtype="u1")
    write_images(tmp_path / "images.h5", pixels, ["cat", "dog"], [f"{i}.png" for i in range(80)], [])
    made = MadeUpLayer(
        tmp_path / "layer", tmp_path / "images.h5", "layer2", "layer1", n_neurons=3, n_references=40, decided=True
    )
    made.write(80, 16)
    out = tmp_path / "report"
    folder = made.pages(out, "photos", "net", patch_size=8, image_size=16)
    pages = (f"{out}/index.html", f"{out}/assets", f"{out}/explorer.html", f"{out}/excerpt.html")
    explorer([folder], [], *pages, "../benchmarks", "../bench/ratios.csv", 7)
    with h5py.File(made.path("polysemanticity")) as file:
        n_parts, labels = file["n_virtual_neurons"][...].tolist(), file["label"][...]
    assert 2 in n_parts
    page = watched.open(out / "index.html", "#net/layer2/neuron/0")
    for number in range(3):
        page.goto(f"{page.url.split('#')[0]}#net/layer2/neuron/{number}")
        page.locator("#neuron h1 b", has_text=re.compile(f"^{number}$")).wait_for()
        assert page.locator(".switch a[aria-current]").all_inner_texts() == ["joint", "as many as it has"]
        assert page.locator(".virtual").count() == n_parts[number]
        first = page.locator(".virtual h2 small").first.inner_text().strip()
        assert first.startswith(f"{(labels[number] == 0).sum()} of 40 references")
    page.locator(".switch a", has_text="PURE, layer1").click()
    page.locator(".switch a[aria-current]", has_text="PURE, layer1").wait_for()
    assert page.locator(".switch a[aria-current]").all_inner_texts() == ["PURE, layer1", "2"]
    page.locator(".switch a", has_text="joint").click()
    page.locator(".switch a[aria-current]", has_text="joint").wait_for()
    page.locator(".switch a", has_text="3").click()
    page.locator(".switch a[aria-current]", has_text=re.compile("^3$")).wait_for()
    assert "k=3" in page.url
