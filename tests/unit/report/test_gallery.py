"""A gallery escapes its title."""

from pathlib import Path

from PIL import Image

from purelens.report.gallery import write_gallery


def test_a_gallery_escapes_its_title(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "neuron_00001_umap.png")
    write_gallery(tmp_path / "g.html", "<script>", [tmp_path / "neuron_00001_umap.png"])
    text = (tmp_path / "g.html").read_text()
    assert "<h1>&lt;script&gt;</h1>" in text
    assert "neuron 00001 umap" in text
    write_gallery(tmp_path / "empty.html", "none", [])
    assert "No neuron was drawn." in (tmp_path / "empty.html").read_text()
