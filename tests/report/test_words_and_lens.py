"""Neurons in words and CLIPs, in a real browser."""

import re
from pathlib import Path

from purelens.report.data import read_data
from support.browser import Watched, needs_browser


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
    page.locator(".switch a", has_text=re.compile("^3$")).click()  # the words are those of the split in two
    page.get_by_text("Virtual neurons have words where they are split by PURE, layer1 into 2.").wait_for()
    assert [row.inner_text() for row in page.locator("table.words td:nth-child(2)").all()] == ["whole", "whole"]
    page.locator(".note a", has_text="split by PURE, layer1 into 2").click()
    page.locator(".switch a[aria-current]", has_text=re.compile("^2$")).wait_for()
    assert rows.count() == 6
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
def test_the_page_of_a_clip(watched: Watched, report: Path) -> None:
    facts = read_data(report / "lens/photos/small_clip/lens.js")
    page = watched.open(report / "index.html", "#lens/small_clip")
    assert page.locator("#lens h1").inner_text().startswith("Second-order effects of small_clip")
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
    for text in [*attack["prompts"], "images of the study"]:
        assert page.get_by_text(text, exact=True).is_visible()
    assert [row["n_images"] for row in attack["images"]] == [3]
    assert (mute["lens"], mute["prompts"], mute["images"]) == ([], [], [])
    assert page.get_by_text("No word of the neurons with the largest effects does.").is_visible()
    page.get_by_role("link", name="1", exact=True).click()
    page.locator("#lens .switch a[aria-current]", has_text="1").wait_for()


@needs_browser
def test_the_page_of_a_neuron_of_a_clip(watched: Watched, report: Path) -> None:
    data = read_data(report / "lens/photos/small_clip/neurons/1-1.js")[6]
    page = watched.open(report / "index.html", "#lens/small_clip/1/neuron/70")
    assert page.locator("#lens h1").inner_text() == "neuron 70"
    shown = page.locator("#lens .card").filter(has_text="Its direction in words").locator("bdi").all_inner_texts()
    assert shown == [word for word, _ in data["words"]]
    assert page.locator("#lens .virtual").count() == len(data["clusters"])
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
    idle = next(row for row in range(60) if rows[row]["n_active"] == 0)
    page = watched.open(report / "index.html", f"#lens/small_clip/image/{idle}")
    page.get_by_text("None of its active neurons has words.").wait_for()
    assert page.evaluate("window.stolen") is None
