"""Figures of neurons and of layers.

REQUIRED INPUTS  {dataset}/images.h5, all artifacts of the layer
OUTPUTS          {dataset}/{model}/{layer}/figures/
"""


rule neuron_figures:
    input:
        images_h5=path("dataset"),
        patches_h5=path("patches"),
        relevances_h5=path("relevances"),
        virtual_neurons_h5=path("virtual_neurons"),
        changed=changed(path("neuron_figures")),
    output:
        folder=update(path("neuron_figures")),
    log:
        log_path("neuron_figures/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("neuron_figures/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("neuron_figures"),
        runtime=runtime("neuron_figures"),
    params:
        neurons=study.figures.neurons,
        n_references=study.figures.references,
        n_clusters=study.figures.n_clusters,
        neighbours=study.figures.neighbours,
        min_dist=study.figures.min_dist,
        seed=study.seed,
        code=code_digest("neuron_figures"),
    message:
        "drawing neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/neuron_figures.py"


rule layer_figures:
    input:
        interpretability_csv=path("interpretability_summary"),
        alignment_csv=path("alignment_summary"),
        changed=changed(path("layer_figures")),
    output:
        figure_png=update(path("layer_figures")),
    log:
        log_path("layer_figures/{dataset}/{model}/{layer}/{embedder}"),
    benchmark:
        benchmark_path("layer_figures/{dataset}/{model}/{layer}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("layer_figures"),
        runtime=runtime("layer_figures"),
    params:
        embedder="{embedder}",
        title="{model} {layer} on {dataset}",
        n_clusters=study.figures.n_clusters,
        confidence=study.evaluation.confidence,
        code=code_digest("layer_figures"),
    message:
        "comparing the methods on {wildcards.model} {wildcards.layer}, {wildcards.dataset}, by {wildcards.embedder}"
    script:
        "../workflow_scripts/layer_figures.py"
