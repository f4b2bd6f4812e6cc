"""The second-order lens: what the neurons of a CLIP do to the image embedding, in words.

REQUIRED INPUTS  {dataset}/images.h5
OUTPUTS          {dataset}/lens/{embedder}/{block}/effects.h5, directions.h5, words.h5, replacements.csv,
                 {dataset}/lens/{embedder}/texts.h5, classes.h5, discovery.h5, heatmaps.h5, segmentation*.csv, attack*.csv
"""


rule effects:
    input:
        weights_file=embedder_file,
        images_h5=path("dataset"),
        changed=changed(part("effects"), path("effects")),
    output:
        effects_h5=made(part("effects")),
    log:
        log_path("effects/{dataset}/{embedder}/{block}"),
    benchmark:
        benchmark_path("effects/{dataset}/{embedder}/{block}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("effects"),
        runtime=runtime("effects"),
    params:
        embedder=lambda w: embedder_settings(w.embedder),
        factory_digest=embedder_digest,
        block=lambda w: int(w.block),
        device=study.device,
        batch_size=study.batch_size,
        shard=shard_of("effects"),
        storage=study.storage,
        seed=study.seed,
        code=code_digest("effects"),
    message:
        "recording the second-order effects of {wildcards.embedder}, block {wildcards.block}, on {wildcards.dataset}"
    script:
        "../workflow_scripts/effects.py"


rule directions:
    input:
        effects_h5=path("effects"),
        changed=changed(path("directions")),
    output:
        directions_h5=update(path("directions")),
    log:
        log_path("directions/{dataset}/{embedder}/{block}"),
    benchmark:
        benchmark_path("directions/{dataset}/{embedder}/{block}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("directions"),
        runtime=runtime("directions"),
    params:
        top_images=study.lens.top_images,
        significant=study.lens.significant,
        split_below=study.lens.split_below,
        n_parts=study.lens.n_parts,
        device=study.device,
        seed=study.seed,
        code=code_digest("directions"),
    message:
        "finding the directions of {wildcards.embedder}, block {wildcards.block}, on {wildcards.dataset}"
    script:
        "../workflow_scripts/directions.py"


rule texts:
    input:
        weights_file=embedder_file,
        pool_file=existing([study.lens.texts or ""]),
        changed=changed(path("texts")),
    output:
        texts_h5=update(path("texts")),
    log:
        log_path("texts/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("texts/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("texts"),
        runtime=runtime("texts"),
    params:
        embedder=lambda w: embedder_settings(w.embedder),
        factory_digest=embedder_digest,
        pool=lambda w: study.lens.texts or "",
        device=study.device,
        seed=study.seed,
        code=code_digest("texts"),
    message:
        "embedding the texts of the lens with {wildcards.embedder}"
    script:
        "../workflow_scripts/texts.py"


rule classes:
    input:
        weights_file=embedder_file,
        images_h5=path("dataset"),
        changed=changed(path("classes")),
    output:
        classes_h5=update(path("classes")),
    log:
        log_path("classes/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("classes/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("classes"),
        runtime=runtime("classes"),
    params:
        embedder=lambda w: embedder_settings(w.embedder),
        factory_digest=embedder_digest,
        class_templates=study.lens.class_templates,
        device=study.device,
        seed=study.seed,
        code=code_digest("classes"),
    message:
        "embedding the classes of {wildcards.dataset} with {wildcards.embedder}"
    script:
        "../workflow_scripts/classes.py"


rule words:
    input:
        directions_h5=path("directions"),
        texts_h5=path("texts"),
        changed=changed(path("words")),
    output:
        words_h5=update(path("words")),
    log:
        log_path("words/{dataset}/{embedder}/{block}"),
    benchmark:
        benchmark_path("words/{dataset}/{embedder}/{block}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("words"),
        runtime=runtime("words"),
    params:
        n_words=study.lens.words,
        scaling=study.lens.scaling,
        device=study.device,
        code=code_digest("words"),
    message:
        "describing the neurons of {wildcards.embedder}, block {wildcards.block}, on {wildcards.dataset}"
    script:
        "../workflow_scripts/words.py"


rule replacements:
    input:
        images_h5=path("dataset"),
        effects_h5=path("effects"),
        directions_h5=path("directions"),
        classes_h5=path("classes"),
        words_h5=path("words"),
        changed=changed(path("replacements")),
    output:
        replacements_csv=report(
            update(path("replacements")),
            caption="../workflow_scripts/report/replacements.rst",
            category="CLIP under the lens",
            labels={
                "model": "{embedder}",
                "block": "{block}",
                "table": "replacements",
            },
        ),
    log:
        log_path("replacements/{dataset}/{embedder}/{block}"),
    benchmark:
        benchmark_path("replacements/{dataset}/{embedder}/{block}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("replacements"),
        runtime=runtime("replacements"),
    params:
        bootstrap=study.evaluation.bootstrap,
        confidence=study.evaluation.confidence,
        device=study.device,
        seed=study.seed,
        code=code_digest("replacements"),
    message:
        "replacing the effects of {wildcards.embedder}, block {wildcards.block}, on {wildcards.dataset}"
    script:
        "../workflow_scripts/replacements.py"


rule discovery:
    input:
        effects_h5=lambda w: of_blocks("effects", w),
        directions_h5=lambda w: of_blocks("directions", w),
        words_h5=lambda w: of_blocks("words", w),
        changed=changed(path("discovery")),
    output:
        discovery_h5=update(path("discovery")),
    log:
        log_path("discovery/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("discovery/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("discovery"),
        runtime=runtime("discovery"),
    params:
        blocks=lambda w: study.lens.models[w.embedder].blocks,
        device=study.device,
        code=code_digest("discovery"),
    message:
        "finding the concepts of the images of {wildcards.dataset} by the neurons of {wildcards.embedder}"
    script:
        "../workflow_scripts/discovery.py"


rule segmentation:
    input:
        weights_file=embedder_file,
        masks_file=existing([study.lens.segmentation.file or ""]),
        images_h5=path("dataset"),
        directions_h5=lambda w: of_blocks("directions", w),
        classes_h5=path("classes"),
        changed=changed(path("segmentation")),
    output:
        segmentation_csv=update(path("segmentation")),
        summary_csv=report(
            update(path("segmentation_summary")),
            caption="../workflow_scripts/report/segmentation.rst",
            category="CLIP under the lens",
            labels={"model": "{embedder}", "block": "all", "table": "segmentation"},
        ),
    log:
        log_path("segmentation/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("segmentation/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("segmentation"),
        runtime=runtime("segmentation"),
    params:
        embedder=lambda w: embedder_settings(w.embedder),
        factory_digest=embedder_digest,
        blocks=lambda w: study.lens.models[w.embedder].blocks,
        neurons=study.lens.segmentation.neurons,
        file=study.lens.segmentation.file,
        bootstrap=study.evaluation.bootstrap,
        confidence=study.evaluation.confidence,
        device=study.device,
        seed=study.seed,
        code=code_digest("segmentation"),
    message:
        "segmenting the images of {wildcards.dataset} by the neurons of {wildcards.embedder}"
    script:
        "../workflow_scripts/segmentation.py"


rule heatmaps:
    input:
        weights_file=embedder_file,
        images_h5=path("dataset"),
        directions_h5=lambda w: of_blocks("directions", w),
        classes_h5=path("classes"),
        changed=changed(path("heatmaps")),
    output:
        heatmaps_h5=update(path("heatmaps")),
    log:
        log_path("heatmaps/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("heatmaps/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("heatmaps"),
        runtime=runtime("heatmaps"),
    params:
        embedder=lambda w: embedder_settings(w.embedder),
        factory_digest=embedder_digest,
        blocks=lambda w: study.lens.models[w.embedder].blocks,
        neurons=study.lens.segmentation.neurons,
        device=study.device,
        seed=study.seed,
        code=code_digest("heatmaps"),
    message:
        "drawing where the neurons of {wildcards.embedder} are active on {wildcards.dataset}"
    script:
        "../workflow_scripts/heatmaps.py"


rule attacks:
    input:
        weights_file=embedder_file,
        directions_h5=lambda w: of_blocks("directions", w),
        words_h5=lambda w: of_blocks("words", w),
        changed=changed(path("attacks")),
    output:
        attacks_csv=update(path("attacks")),
        prompts_csv=update(path("attack_prompts")),
    log:
        log_path("attacks/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("attacks/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        mem_mb=memory("attacks"),
        runtime=runtime("attacks"),
    params:
        embedder=lambda w: embedder_settings(w.embedder),
        factory_digest=embedder_digest,
        wanted=attack_settings({"images"}),
        seed=study.seed,
        code=code_digest("attacks"),
    message:
        "finding words that mislead {wildcards.embedder}"
    script:
        "../workflow_scripts/attacks.py"


rule attack_images:
    input:
        weights_file=embedder_file,
        prompts_csv=path("attack_prompts"),
        changed=changed(path("attack_images")),
    output:
        images_csv=update(path("attack_images")),
    log:
        log_path("attack_images/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("attack_images/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("attack_images"),
        runtime=runtime("attack_images"),
    params:
        embedder=lambda w: embedder_settings(w.embedder),
        factory_digest=embedder_digest,
        images_digest=lambda w: digests_of_attacks(),
        wanted=attack_settings(set()),
        pipeline=study.lens.pipeline,
        pipeline_digest=lambda w: digest_of_pipeline(),
        bootstrap=study.evaluation.bootstrap,
        confidence=study.evaluation.confidence,
        device=study.device,
        seed=study.seed,
        code=code_digest("attack_images"),
    message:
        "scoring images that are to mislead {wildcards.embedder}"
    script:
        "../workflow_scripts/attack_images.py"
