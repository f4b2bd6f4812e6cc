"""Judge the virtual neurons by distances and correlations in the space of each embedding model.

REQUIRED INPUTS  {dataset}/{model}/{layer}/relevances.h5, activations.h5, virtual_neurons.h5, embeddings/*.h5
OUTPUTS          {dataset}/{model}/{layer}/interpretability*.csv, alignment*.csv
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
