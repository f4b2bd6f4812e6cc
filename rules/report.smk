"""The explorer: a page for every neuron, opened straight from the disk.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.json, all artifacts and tables of each layer
OUTPUTS          report/index.html, report/assets/, report/layers/, report/lens/, report/explorer.html
"""


rule pages:
    input:
        images_h5=path("dataset"),
        card_json=path("model_card"),
        activations_h5=path("activations"),
        relevances_h5=path("relevances"),
        patches_h5=path("patches"),
        virtual_neurons_h5=path("virtual_neurons"),
        projections_h5=path("projections"),
        embeddings=embedding_paths,
        interpretability_csv=path("interpretability"),
        interpretability_summary_csv=path("interpretability_summary"),
        alignment_csv=path("alignment"),
        alignment_summary_csv=path("alignment_summary"),
        explanations_h5=lambda w: of_explanations("explanations", w),
        scores_csv=lambda w: of_explanations("scores", w),
        scores_summary_csv=lambda w: of_explanations("scores_summary", w),
        scores_virtual_csv=lambda w: of_explanations("scores_virtual", w),
        ablation_summary_csv=lambda w: of_explanations("ablation_summary", w),
        changed=changed(path("pages")),
    output:
        folder=update(path("pages")),
    log:
        log_path("pages/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("pages/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("pages"),
        runtime=runtime("pages"),
    params:
        dataset="{dataset}",
        model="{model}",
        layer="{layer}",
        embedders=study.patch_embedders,
        n_clusters=study.figures.n_clusters,
        n_references=study.report.references,
        n_circuit=study.report.circuit,
        patch_size=study.report.patch_size,
        image_size=study.report.image_size,
        code=code_digest("pages"),
    message:
        "writing the pages of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/pages.py"


rule lens_pages:
    input:
        images_h5=path("dataset"),
        effects_h5=lambda w: of_blocks("effects", w),
        directions_h5=lambda w: of_blocks("directions", w),
        words_h5=lambda w: of_blocks("words", w),
        replacements_csv=lambda w: of_blocks("replacements", w),
        discovery_h5=path("discovery"),
        heatmaps_h5=path("heatmaps"),
        segmentation_csv=path("segmentation_summary"),
        attack_tables=attack_tables,
        changed=changed(path("lens_pages")),
    output:
        folder=update(path("lens_pages")),
    log:
        log_path("lens_pages/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("lens_pages/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("lens_pages"),
        runtime=runtime("lens_pages"),
    params:
        dataset="{dataset}",
        embedder="{embedder}",
        blocks=lambda w: study.lens.models[w.embedder].blocks,
        attacks=attack_settings({"avoid", "images"}),
        image_size=study.report.image_size,
        code=code_digest("lens_pages"),
    message:
        "writing the pages of {wildcards.embedder} under the lens on {wildcards.dataset}"
    script:
        "../workflow_scripts/lens_pages.py"


rule explorer:
    input:
        pages=lambda w: all_pages(),
        lens_pages=lambda w: all_lens_pages(),
        changed=changed(path("explorer")),
    output:
        index_html=update(path("explorer")),
        assets=update(path("explorer_assets")),
        explorer_html=update(path("explorer_in_one_file")),
        excerpt_html=report(
            update(path("explorer_excerpt")),
            caption="../workflow_scripts/report/explorer.rst",
            category="Explorer",
            labels={"": "all layers and the best separated neurons"},
        ),
    log:
        log_path("explorer"),
    benchmark:
        benchmark_path("explorer")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=1500,
        runtime=15,
    params:
        single_file_megabytes=study.report.single_file_megabytes,
        ratios_digest=file_digest(path("bench_ratios")),
        templates_digest=folder_digest("workflow_scripts/report"),
        code=code_digest("explorer"),
    message:
        "writing the explorer"
    script:
        "../workflow_scripts/explorer.py"
