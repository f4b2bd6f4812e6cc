"""Decode the images and load the networks.

REQUIRED INPUTS  the images and weights that the study names
OUTPUTS          {dataset}/images.h5, {dataset}/{model}/model.safetensors and .json
"""


rule dataset:
    input:
        **inputs(
            "dataset",
            watch=lambda w: study.files(study.dataset(w).images),
        ),
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
        images=lambda w: study.dataset(w).images,
        watch=lambda w: {"images": study.images_digest(study.dataset(w).images)},
        size=lambda w: study.dataset(w).size,
        resize=lambda w: study.dataset(w).resize,
        interpolation=lambda w: study.dataset(w).interpolation,
        min_side=lambda w: study.dataset(w).min_side,
        on_bad_image=lambda w: study.dataset(w).on_bad_image,
        code=code_digest("dataset"),
    message:
        "decoding the images of {wildcards.dataset}"
    script:
        "../workflow_scripts/dataset.py"


rule model:
    input:
        **inputs(
            "model",
            watch=lambda w: study.files(study.model(w).weights),
            images_h5=path("dataset"),
        ),
    output:
        model_safetensors=update(path("model")),
        card_json=update(path("model_card")),
    log:
        log_path("model/{dataset}/{model}"),
    benchmark:
        benchmark_path("model/{dataset}/{model}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("model"),
        runtime=runtime("model"),
    params:
        weights=lambda w: study.model(w).weights,
        architecture=lambda w: study.model(w).architecture,
        watch=lambda w: {
            "architecture": study.architecture_digest(study.model(w).architecture)
        },
        options=lambda w: study.model(w).options,
        mean=lambda w: study.model(w).mean,
        std=lambda w: study.model(w).std,
        device=settings.device,
        batch_size=settings.batch_size,
        seed=settings.seed,
        code=code_digest("model"),
    message:
        "loading {wildcards.model}"
    script:
        "../workflow_scripts/model.py"
