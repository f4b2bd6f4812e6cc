"""Explanations of neurons in words, and how well they predict the neurons.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.*, .../activations.h5, virtual_neurons.h5
OUTPUTS          {dataset}/image_embeddings/*.h5, {dataset}/concepts/*.h5, .../assignments.h5, iou.h5, explanations.h5, scores*.csv,
                 ablation*.csv
"""

from purelens.workflow.explain_study import ExplainStudy

explain = ExplainStudy(study)


rule image_embeddings:
    input:
        **inputs(
            "image_embeddings",
            watch=study.embedder_file,
            images_h5=path("dataset"),
        ),
    output:
        image_embeddings_h5=update(path("image_embeddings")),
    log:
        log_path("image_embeddings/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("image_embeddings/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("image_embeddings"),
        runtime=runtime("image_embeddings"),
    params:
        embedder=lambda w: study.embedder(w.embedder),
        watch=study.embedder_watch,
        device=settings.device,
        batch_size=settings.batch_size,
        seed=settings.seed,
        storage=settings.storage,
        code=code_digest("image_embeddings"),
    message:
        "embedding the images of {wildcards.dataset} with {wildcards.embedder}"
    script:
        "../workflow_scripts/image_embeddings.py"


rule concepts:
    input:
        **inputs(
            "concepts",
            watch=explain.files,
            images_h5=path("dataset"),
            image_embeddings_h5=explain.embedded_images,
            others=explain.others,
        ),
    output:
        concepts_h5=update(path("concepts")),
    log:
        log_path("concepts/{dataset}/{concepts}"),
    benchmark:
        benchmark_path("concepts/{dataset}/{concepts}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        mem_mb=memory("concepts"),
        runtime=runtime("concepts"),
    params:
        settings=explain.settings,
        embedder=explain.embedder,
        watch=explain.watch,
        imported=explain.imported,
        seed=settings.seed,
        code=code_digest("concepts"),
    message:
        "finding the concepts {wildcards.concepts} on the images of {wildcards.dataset}"
    script:
        "../workflow_scripts/concepts.py"


rule assignments:
    input:
        **inputs(
            "assignments",
            images_h5=path("dataset"),
            model=model_files(),
            activations_h5=path("activations"),
            virtual_neurons_h5=path("virtual_neurons"),
        ),
    output:
        assignments_h5=update(path("assignments")),
    log:
        log_path("assignments/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("assignments/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("assignments"),
        runtime=runtime("assignments"),
    params:
        layer=study.layer_view,
        lower_layer=lambda w: study.lower_layers(w)[0],
        n_clusters=settings.figures.n_clusters,
        neurons=settings.explain.virtual_neurons,
        normalize=settings.relevances.normalize,
        skip_channels=settings.relevances.skip_channels,
        device=settings.device,
        batch_size=settings.batch_size,
        code=code_digest("assignments"),
    message:
        "assigning the images of {wildcards.dataset} to the virtual neurons of {wildcards.model} {wildcards.layer}"
    script:
        "../workflow_scripts/assignments.py"


rule network_dissection:
    input:
        **inputs(
            "iou",
            images_h5=path("dataset"),
            model=model_files(),
            activations_h5=path("activations"),
        ),
    output:
        iou_h5=update(path("iou")),
    log:
        log_path("network_dissection/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("network_dissection/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("network_dissection"),
        runtime=runtime("network_dissection"),
    params:
        layer=study.layer_view,
        device=settings.device,
        batch_size=settings.batch_size,
        seed=settings.seed,
        code=code_digest("network_dissection"),
    message:
        "dissecting {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/network_dissection.py"


rule explain:
    input:
        **inputs(
            "explanations",
            watch=study.files(*settings.explain.imported.values()),
            activations_h5=path("activations"),
            concepts=explain.explaining,
            assignments_h5=explain.assignments,
            iou_h5=explain.iou,
        ),
    output:
        explanations_h5=update(path("explanations")),
    log:
        log_path("explain/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("explain/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("explain"),
        runtime=runtime("explain"),
    params:
        names=explain.explainers,
        neurons=study.neurons,
        layer="{layer}",
        imported=settings.explain.imported,
        clip_dissect=settings.explain.clip_dissect,
        l1=settings.explain.l1,
        l1_ratio=settings.explain.l1_ratio,
        length=settings.explain.length,
        width=settings.explain.width,
        tolerance=settings.explain.tolerance,
        inhibitory=settings.explain.inhibitory,
        code=code_digest("explain"),
    message:
        "explaining {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/explain.py"


rule simulate:
    input:
        **inputs(
            "scores",
            activations_h5=path("activations"),
            explanations_h5=path("explanations"),
            concepts_h5=explain.ground_truth,
            assignments_h5=explain.assignments,
        ),
    output:
        scores_csv=update(path("scores")),
        summary_csv=report(
            update(path("scores_summary")),
            caption="../workflow_scripts/report/scores.rst",
            category="{model}",
            subcategory="{layer}",
            labels={"what": "explanations", "dataset": "{dataset}"},
        ),
        virtual_csv=update(path("scores_virtual")),
    log:
        log_path("simulate/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("simulate/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("simulate"),
        runtime=runtime("simulate"),
    params:
        bootstrap=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        seed=settings.seed,
        code=code_digest("simulate"),
    message:
        "simulating {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/simulate.py"


rule ablate:
    input:
        **inputs(
            "ablation",
            images_h5=path("dataset"),
            model=model_files(),
            activations_h5=path("activations"),
            explanations_h5=path("explanations"),
            concepts_h5=explain.ground_truth,
            assignments_h5=explain.assignments,
        ),
    output:
        ablation_csv=update(path("ablation")),
        summary_csv=update(path("ablation_summary")),
    log:
        log_path("ablate/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("ablate/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("ablate"),
        runtime=runtime("ablate"),
    params:
        layer=study.layer_view,
        n_neurons=settings.explain.ablation_neurons,
        device=settings.device,
        batch_size=settings.batch_size,
        bootstrap=settings.evaluation.bootstrap,
        confidence=settings.evaluation.confidence,
        seed=settings.seed,
        code=code_digest("ablate"),
    message:
        "replacing the neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/ablate.py"
