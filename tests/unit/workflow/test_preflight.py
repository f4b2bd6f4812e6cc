"""What the last jobs read is opened before the first."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers import ROOT
from purelens.config.study import load_config
from purelens.errors import UserError
from purelens.workflow.preflight import check_inputs_of_the_lens


@pytest.fixture
def study() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def test_what_the_lens_reads_late_is_opened_first(study: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a circle\n\na circle\n")
    (tmp_path / "masks.mat").write_text("no masks")
    check_inputs_of_the_lens(load_config(study))
    for key, value, message in (
        ("texts", f"{tmp_path}/one.txt", "lens.texts: .*one.txt has 1 different text"),
        ("texts", f"{tmp_path}", "lens.texts: cannot read .*no regular file"),
        (
            "segmentation",
            {"file": f"{tmp_path}/masks.mat"},
            "lens.segmentation.file: .*masks.mat is not in ImageNet-Seg",
        ),
        ("pipeline", f"{tmp_path}", "lens.pipeline: diffusers is not installed"),
    ):
        with pytest.raises(UserError, match=message):
            check_inputs_of_the_lens(load_config({**study, "lens": {**study["lens"], key: value}}))
    check_inputs_of_the_lens(load_config({**study, "lens": {}}))
