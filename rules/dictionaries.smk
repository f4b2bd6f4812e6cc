"""Dictionaries of the activations of a layer: what virtual neurons are compared with.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.*
OUTPUTS          {dataset}/{model}/{layer}/dictionaries.h5
"""


rule dictionaries:
    input:
        **inputs(
            "dictionaries",
            images_h5=path("dataset"),
            model=model_files(),
        ),
    output:
        dictionaries_h5=update(path("dictionaries")),
    log:
        log_path("dictionaries/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("dictionaries/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("dictionaries"),
        runtime=runtime("dictionaries"),
    params:
        layer=study.layer_view,
        n_references=settings.references,
        latents=settings.dictionaries.latents,
        active=settings.dictionaries.active,
        seed=settings.seed,
        device=settings.device,
        batch_size=settings.batch_size,
        storage=settings.storage,
        code=code_digest("dictionaries"),
    message:
        "learning dictionaries of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/dictionaries.py"
