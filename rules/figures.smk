"""Figures of neurons and of layers.

REQUIRED INPUTS  {dataset}/images.h5, all artifacts of the layer
OUTPUTS          {dataset}/{model}/{layer}/projections.h5, figures/
"""


rule projections:
    input:
        **inputs(
            "projections",
            relevances_h5=path("relevances"),
        ),
    output:
        projections_h5=update(path("projections")),
    log:
        log_path("projections/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("projections/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("projections"),
        runtime=runtime("projections"),
    params:
        lower_layer=lambda w: study.lower_layers(w)[0],
        neighbors=settings.figures.neighbors,
        min_dist=settings.figures.min_dist,
        seed=settings.seed,
        code=code_digest("projections"),
    message:
        "projecting the references of {wildcards.model} {wildcards.layer} on {wildcards.dataset} to a plane"
    script:
        "../workflow_scripts/projections.py"


rule neuron_figures:
    input:
        **inputs(
            "neuron_figures",
            images_h5=path("dataset"),
            patches_h5=path("patches"),
            virtual_neurons_h5=path("virtual_neurons"),
            projections_h5=path("projections"),
        ),
    output:
        folder=update(path("neuron_figures")),
        gallery_html=report(
            update(path("neuron_gallery")),
            caption="../workflow_scripts/report/neurons.rst",
            category="{model}",
            subcategory="{layer}",
            labels={"what": "neurons", "dataset": "{dataset}"},
        ),
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
        title="{model} {layer} on {dataset}",
        neurons=settings.figures.neurons,
        n_references=settings.figures.references,
        n_clusters=settings.figures.n_clusters,
        watch=bundled_digests("report/gallery.html"),
        code=code_digest("neuron_figures"),
    message:
        "drawing neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/neuron_figures.py"


rule layer_figures:
    input:
        **inputs(
            "layer_figures",
            interpretability_csv=path("interpretability_summary"),
            alignment_csv=path("alignment_summary"),
        ),
    output:
        figure_png=report(
            update(path("layer_figures")),
            caption="../workflow_scripts/report/methods.rst",
            category="{model}",
            subcategory="{layer}",
            labels={"what": "methods, judged by {embedder}", "dataset": "{dataset}"},
        ),
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
        n_clusters=settings.figures.n_clusters,
        confidence=settings.evaluation.confidence,
        code=code_digest("layer_figures"),
    message:
        "comparing the methods on {wildcards.model} {wildcards.layer}, {wildcards.dataset}, by {wildcards.embedder}"
    script:
        "../workflow_scripts/layer_figures.py"
