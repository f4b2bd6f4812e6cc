# PureLens: split polysemantic neurons into pure virtual neurons. See README.md.

from snakemake.utils import min_version

min_version("9.27")


# A study given with --configfile stands alone; config.yaml is the embedded one.
if not {"datasets", "models", "embedders"} & set(config):

    configfile: "config.yaml"


report: "workflow_scripts/report/workflow.rst"


include: "rules/common.smk"
include: "rules/staleness.smk"
include: "rules/targets.smk"
include: "rules/world.smk"
include: "rules/prepare.smk"
include: "rules/circuits.smk"
include: "rules/dictionaries.smk"
include: "rules/planted.smk"
include: "rules/patches.smk"
include: "rules/gather.smk"
include: "rules/evaluate.smk"
include: "rules/explain.smk"
include: "rules/lens.smk"
include: "rules/lens_applications.smk"
include: "rules/figures.smk"
include: "rules/report.smk"
include: "rules/plan.smk"
include: "rules/bench.smk"


wildcard_constraints:
    dataset=one_of(settings.datasets),
    model=one_of(settings.models),
    layer=one_of(layer_names()),
    embedder=one_of(settings.embedders),
    concepts=one_of(settings.explain.concepts),
    shard="[0-9]+",
    block="[0-9]+",


localrules:
    all,
    bench,
    plan,


rule all:
    default_target: True
    input:
        targets(),


rule bench:
    input:
        path("bench_figures"),


onstart:
    check_before_jobs()
    sweep(inputs.freshness, settings.results)
