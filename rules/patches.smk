"""The patches that neurons look at, and what embedders see in them.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.*, .../activations.h5
OUTPUTS          {dataset}/{model}/{layer}/patches.h5, embeddings/{embedder}.h5
"""


rule patches:
    input:
        images_h5=path("dataset"),
        weights=path("model"),
        card=path("model_card"),
        activations_h5=path("activations"),
        changed=changed(part("patches"), path("patches")),
    output:
        patches_h5=made(part("patches")),
    log:
        log_path("patches/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("patches/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("patches"),
        runtime=runtime("patches"),
    params:
        layer="{layer}",
        neurons=lambda w: layer_of(w).neurons,
        channels=lambda w: layer_of(w).channels,
        attribution=lambda w: model_of(w).attribution,
        blur=study.patches.blur,
        threshold=study.patches.threshold,
        crop_rule=study.patches.crop_rule,
        heat_size=study.patches.heat_size,
        device=study.device,
        batch_size=study.batch_size,
        shard=shard_of("patches"),
        code=code_digest("patches"),
    message:
        "locating the patches of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/patches.py"


rule embeddings:
    input:
        weights_file=embedder_file,
        images_h5=path("dataset"),
        patches_h5=path("patches"),
        changed=changed(part("embeddings"), path("embeddings")),
    output:
        embeddings_h5=made(part("embeddings")),
    log:
        log_path("embeddings/{dataset}/{model}/{layer}/{embedder}"),
    benchmark:
        benchmark_path("embeddings/{dataset}/{model}/{layer}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("embeddings"),
        runtime=runtime("embeddings"),
    params:
        embedder=lambda w: embedder_settings(w.embedder),
        factory_digest=embedder_digest,
        contrast_stretch=study.patches.contrast_stretch,
        device=study.device,
        batch_size=study.batch_size,
        shard=shard_of("embeddings"),
        seed=study.seed,
        storage=study.storage,
        code=code_digest("embeddings"),
    message:
        "embedding the patches of {wildcards.model} {wildcards.layer} on {wildcards.dataset} with {wildcards.embedder}"
    script:
        "../workflow_scripts/embeddings.py"
