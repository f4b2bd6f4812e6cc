"""The explorer: a page for every neuron, opened straight from the disk.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.json, all artifacts and tables of each layer
OUTPUTS          report/index.html, report/assets/, report/layers/, report/lens/, report/explorer.html
"""


rule pages:
    input:
        **inputs(
            "pages",
            images_h5=path("dataset"),
            card_json=path("model_card"),
            activations_h5=path("activations"),
            relevances_h5=path("relevances"),
            patches_h5=path("patches"),
            virtual_neurons_h5=path("virtual_neurons"),
            polysemanticity_h5=decisions,
            projections_h5=path("projections"),
            embeddings=embedding_paths,
            interpretability_csv=path("interpretability"),
            interpretability_summary_csv=path("interpretability_summary"),
            alignment_csv=path("alignment"),
            alignment_summary_csv=path("alignment_summary"),
            monosemanticity_csv=of_layer("monosemanticity", lambda _: True),
            selectivity_csv=of_layer(
                "selectivity", lambda _: settings.evaluation.selectivity_neurons > 0
            ),
            monosemanticity_summary_csv=of_layer(
                "monosemanticity_summary", lambda _: True
            ),
            selectivity_summary_csv=of_layer(
                "selectivity_summary",
                lambda _: settings.evaluation.selectivity_neurons > 0,
            ),
            planted_summary_csv=of_layer("planted_summary", with_planted.__contains__),
            explanations_h5=explain.artifact("explanations"),
            scores_csv=explain.artifact("scores"),
            scores_summary_csv=explain.artifact("scores_summary"),
            scores_virtual_csv=explain.artifact("scores_virtual"),
            ablation_summary_csv=explain.artifact("ablation_summary"),
        ),
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
        embedders=settings.patch_embedders,
        n_clusters=settings.figures.n_clusters,
        n_references=settings.report.references,
        n_circuit=settings.report.circuit,
        patch_size=settings.report.patch_size,
        image_size=settings.report.image_size,
        code=code_digest("pages"),
    message:
        "writing the pages of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/pages.py"


rule lens_pages:
    input:
        **inputs(
            "lens_pages",
            images_h5=path("dataset"),
            effects_h5=lens.of_blocks("effects"),
            directions_h5=lens.of_blocks("directions"),
            words_h5=lens.of_blocks("words"),
            replacements_csv=lens.of_blocks("replacements"),
            discovery_h5=path("discovery"),
            heatmaps_h5=path("heatmaps"),
            segmentation_csv=path("segmentation_summary"),
            attack_tables=lens.attack_tables,
        ),
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
        blocks=lens.blocks,
        attacks=lens.attack_settings({"avoid", "images"}),
        image_size=settings.report.image_size,
        code=code_digest("lens_pages"),
    message:
        "writing the pages of the neurons of {wildcards.embedder} on {wildcards.dataset}"
    script:
        "../workflow_scripts/lens_pages.py"


rule explorer:
    input:
        **inputs(
            "explorer",
            pages=[path("pages", **names) for names in all_layers()],
            lens_pages=[path("lens_pages", **names) for names in all_clips()],
        ),
    output:
        index_html=update(path("explorer")),
        assets=update(path("explorer_assets")),
        explorer_html=update(path("explorer_in_one_file")),
        excerpt_html=report(
            update(path("explorer_excerpt")),
            caption="../workflow_scripts/report/explorer.rst",
            category="Explorer",
            labels={"": "all layers, and the neurons with the largest gaps"},
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
        single_file_megabytes=settings.report.single_file_megabytes,
        benchmarks_folder=study.path_from("explorer", "benchmarks"),
        ratios_csv=study.path_from("explorer", "bench_ratios"),
        watch={
            "ratios.csv": file_digest(path("bench_ratios")),
            **bundled_digests(
                "report/index.html",
                "report/explorer.css",
                "report/core.js",
                "report/overview.js",
                "report/grid.js",
                "report/neuron.js",
                "report/clip.js",
                "report/main.js",
            ),
        },
        code=code_digest("explorer"),
    message:
        "writing the explorer"
    script:
        "../workflow_scripts/explorer.py"
