"""What is stale (see docs/reruns.md): every rule asks ``inputs`` for its inputs."""

from purelens.reruns.staleness import sweep
from purelens.workflow.inputs import Inputs

inputs = Inputs(workflow, rules, study)
