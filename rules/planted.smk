"""Neurons whose parts are known, planted to measure whether a split finds them.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.*, {dataset}/{model}/{layer}/activations.h5
OUTPUTS          {dataset}/{model}/{layer}/planted.h5, planted.csv, planted_summary.csv, figures/planted.png
"""


rule planted:
    input:
        **inputs(
            "planted",
            images_h5=path("dataset"),
            model=model_files(),
            activations_h5=path("activations"),
        ),
    output:
        planted_h5=update(path("planted")),
    log:
        log_path("planted/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("planted/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("planted"),
        runtime=runtime("planted"),
    params:
        layer=study.layer_view,
        lower_layers=study.lower_layers,
        inner_layers=study.inner_layers,
        neurons=study.neurons,
        normalize=settings.relevances.normalize,
        skip_channels=settings.relevances.skip_channels,
        weighted_activations=True,
        pairs=settings.planted.pairs,
        triples=settings.planted.triples,
        controls=settings.planted.controls,
        reference_criterion=settings.reference_criterion,
        seed=settings.seed,
        device=settings.device,
        batch_size=settings.batch_size,
        storage=settings.storage,
        code=code_digest("planted"),
    message:
        "planting neurons in {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/planted.py"


rule planted_scores:
    input:
        **inputs(
            "planted_table",
            planted_h5=path("planted"),
            activations_h5=path("activations"),
            dictionaries_h5=learned_dictionaries,
        ),
    output:
        planted_csv=update(path("planted_table")),
        summary_csv=report(
            update(path("planted_summary")),
            caption="../workflow_scripts/report/planted.rst",
            category="{model}",
            subcategory="{layer}",
            labels={"what": "planted neurons", "dataset": "{dataset}"},
        ),
    log:
        log_path("planted_scores/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("planted_scores/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("planted_scores"),
        runtime=runtime("planted_scores"),
    params:
        restarts=settings.virtual_neurons.restarts,
        false_discovery_rate=settings.virtual_neurons.false_discovery_rate,
        most_virtual_neurons=settings.virtual_neurons.most_virtual_neurons,
        bootstrap=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        seed=settings.seed,
        code=code_digest("planted_scores"),
    message:
        "splitting the planted neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/planted_scores.py"


rule planted_figure:
    input:
        **inputs(
            "planted_figure",
            summary_csv=path("planted_summary"),
        ),
    output:
        figure_png=report(
            update(path("planted_figure")),
            caption="../workflow_scripts/report/planted.rst",
            category="{model}",
            subcategory="{layer}",
            labels={"what": "planted neurons, drawn", "dataset": "{dataset}"},
        ),
    log:
        log_path("planted_figure/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("planted_figure/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("planted_figure"),
        runtime=runtime("planted_figure"),
    params:
        title="{model} {layer} on {dataset}",
        code=code_digest("planted_figure"),
    message:
        "drawing the planted neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/planted_figure.py"
