"""Schema and README are in step with the configuration models."""

import yaml

from helpers import ROOT
from purelens.config import reference

STUDIES = sorted((ROOT / "configs").glob("*.yaml")) + [ROOT / "config.yaml"]


def test_schema_and_readme_are_in_step() -> None:
    assert reference.SCHEMA.read_text() == reference.schema_text(), "run: make docs"
    readme = reference.README.read_text()
    assert readme == reference.readme_text(readme), "run: make docs"


def test_schema_accepts_the_ready_studies() -> None:
    import json

    import jsonschema

    schema = json.loads(reference.SCHEMA.read_text())
    for path in STUDIES:
        jsonschema.validate(yaml.safe_load(path.read_text()), schema)
