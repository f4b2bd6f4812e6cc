"""What the second-order lens is used for: concepts of images, segmentation, and attacks.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/lens/{embedder}/{block}/*.h5, {dataset}/lens/{embedder}/classes.h5
OUTPUTS          {dataset}/lens/{embedder}/discovery.h5, heatmaps.h5, segmentation*.csv, attack*.csv
"""


rule discovery:
    input:
        **inputs(
            "discovery",
            effects_h5=lens.of_blocks("effects"),
            directions_h5=lens.of_blocks("directions"),
            words_h5=lens.of_blocks("words"),
        ),
    output:
        discovery_h5=update(path("discovery")),
    log:
        log_path("discovery/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("discovery/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("discovery"),
        runtime=runtime("discovery"),
    params:
        blocks=lens.blocks,
        device=settings.device,
        code=code_digest("discovery"),
    message:
        "discovering the concepts of the images of {wildcards.dataset} by the neurons of {wildcards.embedder}"
    script:
        "../workflow_scripts/discovery.py"


rule segmentation:
    input:
        **inputs(
            "segmentation",
            watch=lambda w: [
                *study.embedder_file(w),
                *study.files(settings.lens.segmentation.file),
            ],
            images_h5=path("dataset"),
            directions_h5=lens.of_blocks("directions"),
            classes_h5=path("classes"),
        ),
    output:
        segmentation_csv=update(path("segmentation")),
        summary_csv=report(
            update(path("segmentation_summary")),
            caption="../workflow_scripts/report/segmentation.rst",
            category="Second-order effects",
            labels={"model": "{embedder}", "block": "all", "table": "segmentation"},
        ),
    log:
        log_path("segmentation/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("segmentation/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("segmentation"),
        runtime=runtime("segmentation"),
    params:
        embedder=lambda w: study.embedder(w.embedder),
        watch=study.embedder_watch,
        blocks=lens.blocks,
        neurons=settings.lens.segmentation.neurons,
        file=settings.lens.segmentation.file,
        bootstrap=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        device=settings.device,
        seed=settings.seed,
        code=code_digest("segmentation"),
    message:
        "segmenting the images of {wildcards.dataset} by the neurons of {wildcards.embedder}"
    script:
        "../workflow_scripts/segmentation.py"


rule heatmaps:
    input:
        **inputs(
            "heatmaps",
            watch=study.embedder_file,
            images_h5=path("dataset"),
            directions_h5=lens.of_blocks("directions"),
            classes_h5=path("classes"),
        ),
    output:
        heatmaps_h5=update(path("heatmaps")),
    log:
        log_path("heatmaps/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("heatmaps/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("heatmaps"),
        runtime=runtime("heatmaps"),
    params:
        embedder=lambda w: study.embedder(w.embedder),
        watch=study.embedder_watch,
        blocks=lens.blocks,
        neurons=settings.lens.segmentation.neurons,
        device=settings.device,
        seed=settings.seed,
        code=code_digest("heatmaps"),
    message:
        "drawing the activation of the neurons of {wildcards.embedder} on {wildcards.dataset}"
    script:
        "../workflow_scripts/heatmaps.py"


rule attacks:
    input:
        **inputs(
            "attacks",
            watch=study.embedder_file,
            directions_h5=lens.of_blocks("directions"),
            words_h5=lens.of_blocks("words"),
        ),
    output:
        attacks_csv=update(path("attacks")),
        prompts_csv=update(path("attack_prompts")),
    log:
        log_path("attacks/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("attacks/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        mem_mb=memory("attacks"),
        runtime=runtime("attacks"),
    params:
        embedder=lambda w: study.embedder(w.embedder),
        watch=study.embedder_watch,
        settings=lens.attack_settings({"images"}),
        seed=settings.seed,
        code=code_digest("attacks"),
    message:
        "finding words that mislead {wildcards.embedder}"
    script:
        "../workflow_scripts/attacks.py"


rule attack_images:
    input:
        **inputs(
            "attack_images",
            watch=study.embedder_file,
            prompts_csv=path("attack_prompts"),
        ),
    output:
        images_csv=update(path("attack_images")),
    log:
        log_path("attack_images/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("attack_images/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("attack_images"),
        runtime=runtime("attack_images"),
    params:
        embedder=lambda w: study.embedder(w.embedder),
        watch=lens.attack_watch,
        settings=lens.attack_settings(set()),
        pipeline=settings.lens.pipeline,
        bootstrap=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        device=settings.device,
        seed=settings.seed,
        code=code_digest("attack_images"),
    message:
        "scoring images that are to mislead {wildcards.embedder}"
    script:
        "../workflow_scripts/attack_images.py"
