"""The second-order lens: the effects of a CLIP's neurons on the image embedding, in words.

REQUIRED INPUTS  {dataset}/images.h5
OUTPUTS          {dataset}/lens/{embedder}/{block}/effects.h5, directions.h5, words.h5, replacements.csv,
                 {dataset}/lens/{embedder}/texts.h5, classes.h5
"""

from purelens.workflow.lens_study import LensStudy

lens = LensStudy(study)


rule effects:
    input:
        **inputs(
            "effects",
            watch=study.embedder_file,
            images_h5=path("dataset"),
        ),
    output:
        effects_h5=output("effects"),
    log:
        log_path("effects/{dataset}/{embedder}/{block}"),
    benchmark:
        benchmark_path("effects/{dataset}/{embedder}/{block}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("effects"),
        runtime=runtime("effects"),
    params:
        embedder=lambda w: study.embedder(w.embedder),
        watch=study.embedder_watch,
        block=lambda w: int(w.block),
        device=settings.device,
        batch_size=settings.batch_size,
        shard=study.shard_of("effects"),
        storage=settings.storage,
        seed=settings.seed,
        code=code_digest("effects"),
    message:
        "recording the second-order effects of {wildcards.embedder}, block {wildcards.block}, on {wildcards.dataset}"
    script:
        "../workflow_scripts/effects.py"


rule directions:
    input:
        **inputs(
            "directions",
            effects_h5=path("effects"),
        ),
    output:
        directions_h5=update(path("directions")),
    log:
        log_path("directions/{dataset}/{embedder}/{block}"),
    benchmark:
        benchmark_path("directions/{dataset}/{embedder}/{block}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("directions"),
        runtime=runtime("directions"),
    params:
        top_images=settings.lens.top_images,
        significant_fraction=settings.lens.significant_fraction,
        min_explained_variance=settings.lens.min_explained_variance,
        n_directions=settings.lens.n_directions,
        device=settings.device,
        seed=settings.seed,
        code=code_digest("directions"),
    message:
        "finding the directions of {wildcards.embedder}, block {wildcards.block}, on {wildcards.dataset}"
    script:
        "../workflow_scripts/directions.py"


rule texts:
    input:
        **inputs(
            "texts",
            watch=lambda w: [
                *study.embedder_file(w),
                *study.files(settings.lens.texts),
            ],
        ),
    output:
        texts_h5=update(path("texts")),
    log:
        log_path("texts/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("texts/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("texts"),
        runtime=runtime("texts"),
    params:
        embedder=lambda w: study.embedder(w.embedder),
        watch=study.embedder_watch,
        pool=settings.lens.texts or "",
        device=settings.device,
        seed=settings.seed,
        code=code_digest("texts"),
    message:
        "embedding the texts of the lens with {wildcards.embedder}"
    script:
        "../workflow_scripts/texts.py"


rule classes:
    input:
        **inputs(
            "classes",
            watch=study.embedder_file,
            images_h5=path("dataset"),
        ),
    output:
        classes_h5=update(path("classes")),
    log:
        log_path("classes/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("classes/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("classes"),
        runtime=runtime("classes"),
    params:
        embedder=lambda w: study.embedder(w.embedder),
        watch=study.embedder_watch,
        class_templates=settings.lens.class_templates,
        device=settings.device,
        seed=settings.seed,
        code=code_digest("classes"),
    message:
        "embedding the classes of {wildcards.dataset} with {wildcards.embedder}"
    script:
        "../workflow_scripts/classes.py"


rule words:
    input:
        **inputs(
            "words",
            directions_h5=path("directions"),
            texts_h5=path("texts"),
        ),
    output:
        words_h5=update(path("words")),
    log:
        log_path("words/{dataset}/{embedder}/{block}"),
    benchmark:
        benchmark_path("words/{dataset}/{embedder}/{block}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("words"),
        runtime=runtime("words"),
    params:
        n_words=settings.lens.words,
        scaling=settings.lens.scaling,
        device=settings.device,
        code=code_digest("words"),
    message:
        "describing the neurons of {wildcards.embedder}, block {wildcards.block}, on {wildcards.dataset}"
    script:
        "../workflow_scripts/words.py"


rule replacements:
    input:
        **inputs(
            "replacements",
            images_h5=path("dataset"),
            effects_h5=path("effects"),
            directions_h5=path("directions"),
            classes_h5=path("classes"),
            words_h5=path("words"),
        ),
    output:
        replacements_csv=report(
            update(path("replacements")),
            caption="../workflow_scripts/report/replacements.rst",
            category="Second-order effects",
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
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("replacements"),
        runtime=runtime("replacements"),
    params:
        bootstrap=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        device=settings.device,
        seed=settings.seed,
        code=code_digest("replacements"),
    message:
        "replacing the effects of {wildcards.embedder}, block {wildcards.block}, on {wildcards.dataset}"
    script:
        "../workflow_scripts/replacements.py"
