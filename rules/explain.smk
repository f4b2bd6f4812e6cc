"""Explanations of neurons in words, and how well they predict the neurons.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.*, .../activations.h5, virtual_neurons.h5
OUTPUTS          {dataset}/image_embeddings/*.h5, {dataset}/concepts/*.h5, .../assignments.h5, iou.h5, explanations.h5, scores*.csv,
                 ablation*.csv
"""


def explainers() -> list[str]:
    """Concept sets that explain; one of all names only scores."""
    return [
        name
        for name, concepts in settings.explain.concepts.items()
        if concepts.source != "all"
    ]


def concept_paths(wildcards: Names, names: list[str]) -> list[str]:
    """Artifacts of concept sets for the dataset of a job."""
    return [
        path("concepts", dataset=wildcards.dataset, concepts=name) for name in names
    ]


def explaining_concepts(wildcards: Names) -> list[str]:
    """Artifacts of the concept sets that explain."""
    return concept_paths(wildcards, explainers())


def ground_truth(wildcards: Names) -> str:
    """Artifact of the concept set that explanations are scored against."""
    chosen = settings.explain.ground_truth or next(iter(settings.explain.concepts))
    return concept_paths(wildcards, [chosen])[0]


def takes_all_names(wildcards: Names) -> bool:
    """Whether a concept set has the names of all others."""
    return settings.explain.concepts[wildcards.concepts].source == "all"


def imported_by(wildcards: Names) -> list[str]:
    """Files of imported explanations whose names a concept set takes."""
    imported = settings.explain.imported.values()
    return list(imported) if takes_all_names(wildcards) else []


def text_embedder(wildcards: Names) -> str | None:
    """Embedding model of the texts of a concept set; None for labels."""
    return settings.explain.concepts[wildcards.concepts].embedder


def text_embedder_settings(wildcards: Names) -> dict[str, object] | None:
    """What decides the embeddings of the texts of a concept set; None for labels."""
    name = text_embedder(wildcards)
    return study.embedder(name) if name else None


def concept_files(wildcards: Names) -> list[str]:
    """Files that decide a concept set."""
    concepts = settings.explain.concepts[wildcards.concepts]
    name = text_embedder(wildcards)
    weights = settings.embedders[name].weights if name else None
    files = [concepts.texts, concepts.text_embeddings, concepts.superclasses]
    return study.files(weights, *files, *imported_by(wildcards))


def embedded_images(wildcards: Names) -> list[str]:
    """Embeddings of the images by the embedding model of a concept set; none for labels."""
    name = text_embedder(wildcards)
    dataset = wildcards.dataset
    return [path("image_embeddings", dataset=dataset, embedder=name)] if name else []


def assignment_path(wildcards: Names) -> list[str]:
    """Assignments, if virtual neurons are explained."""
    names = dict(wildcards.items())
    return [path("assignments", **names)] if settings.explain.virtual_neurons else []


def iou_path(wildcards: Names) -> list[str]:
    """Artifact of Network Dissection, if the study asks for it."""
    names = dict(wildcards.items())
    return [path("iou", **names)] if settings.explain.network_dissection else []


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
            watch=concept_files,
            images_h5=path("dataset"),
            image_embeddings_h5=embedded_images,
            others=lambda w: explaining_concepts(w) if takes_all_names(w) else [],
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
        settings=lambda w: settings.explain.concepts[w.concepts].model_dump(),
        embedder=text_embedder_settings,
        imported=imported_by,
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
            concepts=explaining_concepts,
            assignments_h5=assignment_path,
            iou_h5=iou_path,
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
        names=explainers(),
        neurons=lambda w: study.layer(w).neurons,
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
            concepts_h5=ground_truth,
            assignments_h5=assignment_path,
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
            concepts_h5=ground_truth,
            assignments_h5=assignment_path,
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
