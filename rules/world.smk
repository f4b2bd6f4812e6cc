"""The embedded world: made only where the study names one of its files.

REQUIRED INPUTS  none
OUTPUTS          world/{train,probe,test}.h5, world/scene_cnn.*, world/scene_clip.*
"""


rule world_scenes:
    input:
        **inputs("scenes"),
    output:
        scenes_h5=update(path("scenes")),
    log:
        log_path("world_scenes/{part}"),
    benchmark:
        benchmark_path("world_scenes/{part}")
    wildcard_constraints:
        part="train|probe|test",
    conda:
        "../envs/purelens.yaml"
    threads: 2
    resources:
        mem_mb=memory("world_scenes"),
        runtime=runtime("world_scenes"),
    params:
        part="{part}",
        n_scenes=lambda w: getattr(settings.world, f"{w.part}_scenes"),
        seed=settings.seed,
        code=code_digest("world_scenes"),
    message:
        "drawing the {wildcards.part} scenes of the embedded world"
    script:
        "../workflow_scripts/world_scenes.py"


rule world_cnn:
    input:
        **inputs(
            "scene_cnn",
            train_h5=path("scenes", part="train"),
            test_h5=path("scenes", part="test"),
        ),
    output:
        weights=update(path("scene_cnn")),
        accuracy_json=update(path("scene_cnn_accuracy")),
    log:
        log_path("world_cnn"),
    benchmark:
        benchmark_path("world_cnn")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("world_cnn"),
        runtime=runtime("world_cnn"),
    params:
        epochs=settings.world.cnn_epochs,
        seed=settings.seed,
        code=code_digest("world_cnn"),
    message:
        "training the CNN of the embedded world"
    script:
        "../workflow_scripts/world_cnn.py"


rule world_clip:
    input:
        **inputs(
            "scene_clip",
            train_h5=path("scenes", part="train"),
            test_h5=path("scenes", part="test"),
        ),
    output:
        weights=update(path("scene_clip")),
        accuracy_json=update(path("scene_clip_accuracy")),
    log:
        log_path("world_clip"),
    benchmark:
        benchmark_path("world_clip")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("world_clip"),
        runtime=runtime("world_clip"),
    params:
        epochs=settings.world.clip_epochs,
        watch=bundled_digests("purelens/world/scene_clip.json"),
        seed=settings.seed,
        code=code_digest("world_clip"),
    message:
        "training the CLIP of the embedded world"
    script:
        "../workflow_scripts/world_clip.py"
