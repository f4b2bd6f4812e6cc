"""The explorer in a real browser, from the disk: every page, every control, and names that would like to be programs."""

import base64
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from purelens.report.data import as_script, read_data, write_data
from purelens.report.explorer import explorer
from purelens.report.screenshot import find_browser
from support.pages import MadeUpLayer, write_images, write_lens

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = find_browser()
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here (Debian: apt-get install chromium)")

EVIL = '<script>window.stolen=1</script><img src=x onerror="window.stolen=1">'
RTL = "\u05d7\u05ea\u05d5\u05dc \u202eevil"
CLASSES = [EVIL, 'it\'s "quoted" & </script>', RTL, "x" * 300]
WIDTHS = (900, 1400, 2560)


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The explorer of two layers, one below the other, with hostile names and a dead neuron."""
    root = tmp_path_factory.mktemp("report")
    n_images, side = 60, 32
    pixels = np.random.default_rng(0).integers(0, 256, (n_images, side, side, 3), dtype="u1")
    paths = [f"{CLASSES[i % 4]}/{i}{EVIL if i % 3 == 0 else ''}.png" for i in range(n_images)]
    write_images(root / "images.h5", pixels, CLASSES, paths, [(f"bad{EVIL}.png", "not an image")])
    words = (*CLASSES, "zebra", "null")
    upper = MadeUpLayer(root / "upper", root / "images.h5", "layer2", "layer1", dead=(4,), words=words)
    lower = MadeUpLayer(root / "lower", root / "images.h5", "layer1", "layer0", n_neurons=12)
    folders = []
    for layer in (upper, lower):
        layer.write(n_images, side)
        folders.append(layer.pages(root / "results/report", "photos", "net", patch_size=24, image_size=32))
    out = root / "results/report"
    lens = write_lens(root / "lens", root / "images.h5", [*CLASSES, "zebra", "null"], out, "photos")
    explorer(folders, [lens], f"{out}/index.html", f"{out}/assets", f"{out}/explorer.html", f"{out}/excerpt.html", 7)
    return out


class Watched:
    """A page, and what it complained of or asked the network for."""

    def __init__(self, page: Any) -> None:
        self.page, self.complaints = page, []
        page.on("console", self.said)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requested(request.url))

    def said(self, message: Any) -> None:
        """No errors, no warnings."""
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def requested(self, url: str) -> None:
        """Nothing but files."""
        if not url.startswith(("file:", "data:", "blob:")):
            self.complaints.append(f"asked for {url}")

    def open(self, path: Path, route: str = "") -> Any:
        """Go to a view and wait for it."""
        self.page.goto(f"file://{path}{route}")
        self.page.wait_for_selector("html[data-view]")
        return self.page


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def watched(chromium: Any) -> Iterator[Watched]:
    context = chromium.new_context(viewport={"width": 1400, "height": 900})
    watched = Watched(context.new_page())
    yield watched
    context.close()
    assert watched.complaints == []


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
    page.locator("details summary", has_text="Images left out").first.click()
    assert page.get_by_text(f"bad{EVIL}.png").first.is_visible()
    page = watched.open(report / "index.html", ROUTES["neuron"])
    assert page.get_by_text("<script>window.stolen=1</script>").count() > 0
    for place in range(page.locator(".virtual .patch").count()):
        page.locator(".virtual .patch").nth(place).click()
        assert page.locator("dialog .image img").is_visible()
        page.keyboard.press("Escape")
    assert page.evaluate("window.stolen") is None


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
    page = watched.open(report / "index.html", "#net/layer2?sort=agreement")
    wanted = sorted(
        (row for row in range(6) if table["agreement"][row] is not None), key=lambda row: -table["agreement"][row]
    )
    assert numbers(page)[:5] == wanted


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
def test_neurons_in_words(watched: Watched, report: Path) -> None:
    """A neuron's page says what each method says, the overview how well; neurons are found by their words."""
    layer = read_data(report / "layers/photos/net/layer2/layer.js")
    page = watched.open(report / "index.html")
    assert page.locator("text=How well words explain these neurons").count() == 1
    # among the methods, and in the table of neurons beside their virtual neurons
    assert page.locator("td", has_text="le:mine").count() == 2
    page = watched.open(report / "index.html", "#net/layer2/neuron/0")
    rows = page.locator("table.words tbody tr")
    rows.first.wait_for()
    assert rows.count() == 6  # two methods, of the neuron and two virtual neurons each
    assert rows.first.locator("td").first.inner_text() == "linear explanation, mine"
    shown = {text.rsplit(" ", 1)[0] for text in rows.first.locator(".named").all_inner_texts()}
    assert shown == set(layer["lines"][0]["words"])
    assert page.evaluate("window.stolen") is None
    with_zebra = [
        n for n, line in zip(layer["table"]["neurons"], layer["lines"], strict=True) if "zebra" in line["words"]
    ]
    page = watched.open(report / "index.html", "#net/layer2?q=zebra")
    page.wait_for_selector(".cell")
    assert 0 < len(with_zebra) < 6
    assert page.locator(".count").inner_text() == f"{len(with_zebra)} of 6 neurons"


@needs_browser
def test_a_layer_without_words_says_nothing_of_them(watched: Watched, report: Path) -> None:
    page = watched.open(report / "index.html", "#net/layer1/neuron/0")
    assert page.locator("table.words").count() == 0


@needs_browser
def test_a_clip_under_the_lens(watched: Watched, report: Path) -> None:
    facts = read_data(report / "lens/photos/small_clip/lens.js")
    page = watched.open(report / "index.html", "#lens/small_clip")
    assert page.locator("#lens h1").inner_text().startswith("small_clip under the lens")
    assert page.locator("#lens .lens-wall .neuron").count() == 60
    assert page.get_by_role("status").inner_text() == "80 of 80 neurons"
    page.get_by_role("button", name="more").click()
    assert page.locator("#lens .lens-wall .neuron").count() == 80
    page.get_by_label("search").fill("zebra")
    named = [row for row, words in enumerate(facts["blocks"][0]["words"]) if any(word == "zebra" for word, _ in words)]
    assert named
    assert page.get_by_role("status").inner_text() == f"{len(named)} of 80 neurons"
    assert page.url.endswith("#lens/small_clip/0?q=zebra")
    row = next(row for row, words in enumerate(facts["blocks"][0]["words"]) if any(weight < 0 for _, weight in words))
    page.get_by_label("search").fill(str(row))
    card = page.locator("#lens .lens-wall .neuron").filter(has=page.locator("b", has_text=re.compile(f"^{row}$")))
    shown = [float(text.split()[-1].replace("\u2212", "-")) for text in card.locator(".named").all_inner_texts()]
    assert [weight < 0 for _, weight in facts["blocks"][0]["words"][row]] == [weight < 0 for weight in shown]
    for text in ("significant effects by their means", "a blob in the middle of every image"):
        assert page.get_by_text(text).is_visible()
    attack, mute = facts["attacks"]
    for word, _ in attack["lens"][:12]:
        assert page.locator("#lens details bdi", has_text=word).first.is_visible()
    assert len(attack["prompts"]) == 3
    for text in [*attack["prompts"], "images of yours"]:
        assert page.get_by_text(text, exact=True).is_visible()
    assert [row["n_images"] for row in attack["images"]] == [3]
    assert (mute["lens"], mute["prompts"], mute["images"]) == ([], [], [])
    assert page.get_by_text("No word of the neurons that push most does.").is_visible()
    page.get_by_role("link", name="1", exact=True).click()
    page.locator("#lens .switch a[aria-current]", has_text="1").wait_for()


@needs_browser
def test_a_neuron_under_the_lens(watched: Watched, report: Path) -> None:
    data = read_data(report / "lens/photos/small_clip/neurons/1-1.js")[6]
    page = watched.open(report / "index.html", "#lens/small_clip/1/neuron/70")
    assert page.locator("#lens h1").inner_text() == "neuron 70"
    shown = page.locator("#lens .card").filter(has_text="Its direction in words").locator("bdi").all_inner_texts()
    assert shown == [word for word, _ in data["words"]]
    assert page.locator("#lens .virtual").count() == len(data["parts"])
    pictures = page.locator("#lens figure .picture")
    assert pictures.count() == 12
    pictures.first.click()
    page.locator("#lens h1", has_text=f"image {data['images'][0][0]}").wait_for()
    page.locator("#lens a.up").click()
    page.locator("#lens .lens-wall").wait_for()
    page = watched.open(report / "index.html", "#lens/small_clip/0/neuron/80")
    page.get_by_text("There is no such neuron.").wait_for()


@needs_browser
def test_the_concepts_of_an_image(watched: Watched, report: Path) -> None:
    rows = read_data(report / "lens/photos/small_clip/images/0.js")
    number = max(range(60), key=lambda row: len(rows[row]["words"]))
    page = watched.open(report / "index.html", f"#lens/small_clip/image/{number}")
    card = page.locator("#lens .card").filter(has_text="Its concepts")
    assert card.locator("p .words bdi").all_inner_texts() == [word for word, _ in rows[number]["words"]]
    assert card.locator("li a").count() == len(rows[number]["neurons"])
    heat = page.locator("#lens canvas")
    assert heat.is_visible()
    page.get_by_label("where the neurons").uncheck()
    assert not heat.is_visible()
    idle = next(row for row in range(60) if rows[row]["active"] == 0)
    page = watched.open(report / "index.html", f"#lens/small_clip/image/{idle}")
    page.get_by_text("No neuron that has words is activated.").wait_for()
    assert page.evaluate("window.stolen") is None
