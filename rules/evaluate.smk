"""Judge the virtual neurons: by distances, correlations and likeness in the space of each embedding model, by classes, and by
what depends on their circuits.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.*, .../embeddings/*.h5, {dataset}/image_embeddings/*.h5,
                 {dataset}/{model}/{layer}/activations.h5, relevances.h5, virtual_neurons.h5, polysemanticity.h5, dictionaries.h5
OUTPUTS          {dataset}/{model}/{layer}/interpretability*.csv, alignment*.csv, monosemanticity*.csv, selectivity*.csv
"""


rule interpretability:
    input:
        **inputs(
            "interpretability",
            relevances_h5=path("relevances"),
            virtual_neurons_h5=path("virtual_neurons"),
            embeddings=embedding_paths,
        ),
    output:
        interpretability_csv=update(path("interpretability")),
        summary_csv=report(
            update(path("interpretability_summary")),
            caption="../workflow_scripts/report/interpretability.rst",
            category="{model}",
            subcategory="{layer}",
            labels={"what": "distances", "dataset": "{dataset}"},
        ),
    log:
        log_path("interpretability/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("interpretability/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("interpretability"),
        runtime=runtime("interpretability"),
    params:
        embedders=settings.patch_embedders,
        bootstrap=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        seed=settings.seed,
        code=code_digest("interpretability"),
    message:
        "measuring the virtual neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/interpretability.py"


rule alignment:
    input:
        **inputs(
            "alignment",
            relevances_h5=path("relevances"),
            activations_h5=path("activations"),
            dictionaries_h5=learned_dictionaries,
            embeddings=embedding_paths,
        ),
    output:
        alignment_csv=update(path("alignment")),
        summary_csv=report(
            update(path("alignment_summary")),
            caption="../workflow_scripts/report/alignment.rst",
            category="{model}",
            subcategory="{layer}",
            labels={"what": "correlations", "dataset": "{dataset}"},
        ),
    log:
        log_path("alignment/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("alignment/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("alignment"),
        runtime=runtime("alignment"),
    params:
        embedders=settings.patch_embedders,
        n_references=settings.evaluation.alignment_references,
        n_groups=settings.evaluation.alignment_groups,
        joint=settings.virtual_neurons.joint,
        bootstrap=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        seed=settings.seed,
        code=code_digest("alignment"),
    message:
        "correlating the distances of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/alignment.py"


rule monosemanticity:
    input:
        **inputs(
            "monosemanticity",
            images_h5=path("dataset"),
            activations_h5=path("activations"),
            virtual_neurons_h5=path("virtual_neurons"),
            polysemanticity_h5=decisions,
            dictionaries_h5=learned_dictionaries,
            embeddings=embedding_paths,
            image_embeddings=image_embedding_paths,
        ),
    output:
        monosemanticity_csv=update(path("monosemanticity")),
        units_csv=update(path("monosemanticity_units")),
        summary_csv=report(
            update(path("monosemanticity_summary")),
            caption="../workflow_scripts/report/monosemanticity.rst",
            category="{model}",
            subcategory="{layer}",
            labels={"what": "likeness of images", "dataset": "{dataset}"},
        ),
    log:
        log_path("monosemanticity/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("monosemanticity/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("monosemanticity"),
        runtime=runtime("monosemanticity"),
    params:
        embedders=settings.patch_embedders,
        bootstrap=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        seed=settings.seed,
        code=code_digest("monosemanticity"),
    message:
        "comparing the images of units of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/monosemanticity.py"


rule selectivity:
    input:
        **inputs(
            "selectivity",
            images_h5=path("dataset"),
            model=model_files(),
            relevances_h5=path("relevances"),
            virtual_neurons_h5=path("virtual_neurons"),
            polysemanticity_h5=decisions,
        ),
    output:
        selectivity_csv=update(path("selectivity")),
        summary_csv=report(
            update(path("selectivity_summary")),
            caption="../workflow_scripts/report/selectivity.rst",
            category="{model}",
            subcategory="{layer}",
            labels={"what": "causal selectivity", "dataset": "{dataset}"},
        ),
    log:
        log_path("selectivity/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("selectivity/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("selectivity"),
        runtime=runtime("selectivity"),
    params:
        layer=study.layer_view,
        lower_layer=lambda w: study.lower_layers(w)[0],
        n_clusters=settings.figures.n_clusters,
        neurons=settings.evaluation.selectivity_neurons,
        reference_criterion=settings.reference_criterion,
        bootstrap=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        seed=settings.seed,
        device=settings.device,
        batch_size=settings.batch_size,
        code=code_digest("selectivity"),
    message:
        "switching off circuits of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/selectivity.py"
