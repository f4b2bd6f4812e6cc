"""The benchmark of trained networks is a valid study."""

from typing import Any

import pytest
import yaml

from helpers import ROOT
from purelens.config.study import load_config


@pytest.fixture
def study() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def test_the_benchmark_of_trained_networks_is_valid() -> None:
    study = yaml.safe_load((ROOT / "config.yaml").read_text()) | yaml.safe_load(
        (ROOT / "configs/bench/networks.yaml").read_text()
    )
    assert set(load_config(study).bench.studies) == {"squeezenet", "resnet50_v2"}
