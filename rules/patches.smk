"""The patches of the references, and their embeddings.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.*, .../activations.h5
OUTPUTS          {dataset}/{model}/{layer}/patches.h5, embeddings/{embedder}.h5
"""


rule patches:
    input:
        **inputs(
            "patches",
            images_h5=path("dataset"),
            model=model_files(),
            activations_h5=path("activations"),
        ),
    output:
        patches_h5=output("patches"),
    log:
        log_path("patches/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("patches/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("patches"),
        runtime=runtime("patches"),
    params:
        layer=study.layer_view,
        neurons=study.neurons,
        attribution=lambda w: study.model(w).attribution,
        blur=settings.patches.blur,
        threshold=settings.patches.threshold,
        crop_rule=settings.patches.crop_rule,
        heat_size=settings.patches.heat_size,
        device=settings.device,
        batch_size=settings.batch_size,
        shard=study.shard_of("patches"),
        code=code_digest("patches"),
    message:
        "locating the patches of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/patches.py"


rule embeddings:
    input:
        **inputs(
            "embeddings",
            watch=study.embedder_file,
            images_h5=path("dataset"),
            patches_h5=path("patches"),
        ),
    output:
        embeddings_h5=output("embeddings"),
    log:
        log_path("embeddings/{dataset}/{model}/{layer}/{embedder}"),
    benchmark:
        benchmark_path("embeddings/{dataset}/{model}/{layer}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("embeddings"),
        runtime=runtime("embeddings"),
    params:
        embedder=lambda w: study.embedder(w.embedder),
        watch=study.embedder_watch,
        contrast_stretch=settings.patches.contrast_stretch,
        device=settings.device,
        batch_size=settings.batch_size,
        shard=study.shard_of("embeddings"),
        seed=settings.seed,
        storage=settings.storage,
        code=code_digest("embeddings"),
    message:
        "embedding the patches of {wildcards.model} {wildcards.layer} on {wildcards.dataset} with {wildcards.embedder}"
    script:
        "../workflow_scripts/embeddings.py"
