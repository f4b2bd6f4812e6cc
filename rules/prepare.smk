"""Decode the images and load the networks.

REQUIRED INPUTS  the images and weights that the study names
OUTPUTS          {dataset}/images.h5, {dataset}/{model}/model.safetensors and .json
"""


rule dataset:
    input:
        source_file=lambda w: file_input(study.datasets[w.dataset].images),
        changed=changed(path("dataset")),
    output:
        images_h5=update(path("dataset")),
    log:
        log_path("dataset/{dataset}"),
    benchmark:
        benchmark_path("dataset/{dataset}")
    conda:
        "../envs/purelens.yaml"
    threads: 8
    resources:
        mem_mb=memory("dataset"),
        runtime=runtime("dataset"),
    params:
        images=lambda w: study.datasets[w.dataset].images,
        source_digest=lambda w: source_digest(study.datasets[w.dataset].images, digests),
        size=lambda w: study.datasets[w.dataset].size,
        resize=lambda w: study.datasets[w.dataset].resize,
        interpolation=lambda w: study.datasets[w.dataset].interpolation,
        min_side=lambda w: study.datasets[w.dataset].min_side,
        on_bad_image=lambda w: study.datasets[w.dataset].on_bad_image,
        code=code_digest("dataset"),
    message:
        "decoding the images of {wildcards.dataset}"
    script:
        "../workflow_scripts/dataset.py"


rule model:
    input:
        weights_file=lambda w: file_input(model_of(w).weights),
        images_h5=path("dataset"),
        changed=changed(path("model")),
    output:
        model_safetensors=update(path("model")),
        card_json=update(path("model_card")),
    log:
        log_path("model/{dataset}/{model}"),
    benchmark:
        benchmark_path("model/{dataset}/{model}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("model"),
        runtime=runtime("model"),
    params:
        weights=lambda w: model_of(w).weights,
        architecture=lambda w: model_of(w).architecture,
        factory_digest=lambda w: architecture_digest(model_of(w).architecture),
        options=lambda w: model_of(w).options,
        mean=lambda w: model_of(w).mean,
        std=lambda w: model_of(w).std,
        device=study.device,
        batch_size=study.batch_size,
        seed=study.seed,
        code=code_digest("model"),
    message:
        "loading {wildcards.model}"
    script:
        "../workflow_scripts/model.py"
