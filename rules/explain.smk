"""What neurons mean, in words, and how well these words predict them.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.*, .../activations.h5, virtual_neurons.h5
OUTPUTS          {dataset}/image_embeddings/*.h5, {dataset}/concepts/*.h5, .../gates.h5, iou.h5, explanations.h5, scores*.csv,
                 ablation*.csv
"""


rule image_embeddings:
    input:
        weights_file=embedder_file,
        images_h5=path("dataset"),
        changed=changed(path("image_embeddings")),
    output:
        image_embeddings_h5=update(path("image_embeddings")),
    log:
        log_path("image_embeddings/{dataset}/{embedder}"),
    benchmark:
        benchmark_path("image_embeddings/{dataset}/{embedder}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("image_embeddings"),
        runtime=runtime("image_embeddings"),
    params:
        embedder=lambda w: embedder_settings(w.embedder),
        factory_digest=embedder_digest,
        device=study.device,
        batch_size=study.batch_size,
        seed=study.seed,
        storage=study.storage,
        code=code_digest("image_embeddings"),
    message:
        "embedding the images of {wildcards.dataset} with {wildcards.embedder}"
    script:
        "../workflow_scripts/image_embeddings.py"


rule concepts:
    input:
        embedder_file=lambda w: file_input((embedder_of(w) or {}).get("weights") or ""),
        settings_file=lambda w: concept_files(w.concepts),
        images_h5=path("dataset"),
        image_embeddings_h5=concept_embeddings,
        others=other_concepts,
        changed=changed(path("concepts")),
    output:
        concepts_h5=update(path("concepts")),
    log:
        log_path("concepts/{dataset}/{concepts}"),
    benchmark:
        benchmark_path("concepts/{dataset}/{concepts}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        mem_mb=memory("concepts"),
        runtime=runtime("concepts"),
    params:
        settings=lambda w: study.explain.concepts[w.concepts].model_dump(),
        embedder=embedder_of,
        elsewhere=lambda w: elsewhere_of(w.concepts),
        seed=study.seed,
        code=code_digest("concepts"),
    message:
        "finding the concepts {wildcards.concepts} on the images of {wildcards.dataset}"
    script:
        "../workflow_scripts/concepts.py"


rule gates:
    input:
        images_h5=path("dataset"),
        weights=path("model"),
        card=path("model_card"),
        activations_h5=path("activations"),
        virtual_neurons_h5=path("virtual_neurons"),
        changed=changed(path("gates")),
    output:
        gates_h5=update(path("gates")),
    log:
        log_path("gates/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("gates/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("gates"),
        runtime=runtime("gates"),
    params:
        layer="{layer}",
        lower_layer=lambda w: lower_layers_of(w)[0],
        n_clusters=study.figures.n_clusters,
        neurons=study.explain.virtual_neurons,
        channels=lambda w: layer_of(w).channels,
        normalize=study.relevances.normalize,
        device=study.device,
        batch_size=study.batch_size,
        code=code_digest("gates"),
    message:
        "finding the virtual neurons of {wildcards.model} {wildcards.layer} at work on {wildcards.dataset}"
    script:
        "../workflow_scripts/gates.py"


rule network_dissection:
    input:
        images_h5=path("dataset"),
        weights=path("model"),
        card=path("model_card"),
        activations_h5=path("activations"),
        changed=changed(path("iou")),
    output:
        iou_h5=update(path("iou")),
    log:
        log_path("network_dissection/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("network_dissection/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("network_dissection"),
        runtime=runtime("network_dissection"),
    params:
        layer="{layer}",
        channels=lambda w: layer_of(w).channels,
        device=study.device,
        batch_size=study.batch_size,
        seed=study.seed,
        code=code_digest("network_dissection"),
    message:
        "dissecting {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/network_dissection.py"


rule explain:
    input:
        elsewhere_file=existing(study.explain.elsewhere.values()),
        activations_h5=path("activations"),
        concepts=explaining_concepts,
        gates_h5=gates_of,
        iou_h5=iou_of,
        changed=changed(path("explanations")),
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
        neurons=lambda w: layer_of(w).neurons,
        layer="{layer}",
        elsewhere=study.explain.elsewhere,
        clip_dissect=study.explain.clip_dissect,
        l1=study.explain.l1,
        l1_ratio=study.explain.l1_ratio,
        length=study.explain.length,
        width=study.explain.width,
        tolerance=study.explain.tolerance,
        inhibitory=study.explain.inhibitory,
        code=code_digest("explain"),
    message:
        "explaining {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/explain.py"


rule simulate:
    input:
        activations_h5=path("activations"),
        explanations_h5=path("explanations"),
        concepts_h5=simulating_concepts,
        gates_h5=gates_of,
        changed=changed(path("scores")),
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
        bootstrap=study.evaluation.bootstrap,
        confidence=study.evaluation.confidence,
        seed=study.seed,
        code=code_digest("simulate"),
    message:
        "simulating {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/simulate.py"


rule ablate:
    input:
        images_h5=path("dataset"),
        weights=path("model"),
        card=path("model_card"),
        activations_h5=path("activations"),
        explanations_h5=path("explanations"),
        concepts_h5=simulating_concepts,
        gates_h5=gates_of,
        changed=changed(path("ablation")),
    output:
        ablation_csv=update(path("ablation")),
        summary_csv=update(path("ablation_summary")),
    log:
        log_path("ablate/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("ablate/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("ablate"),
        runtime=runtime("ablate"),
    params:
        layer="{layer}",
        n_neurons=study.explain.ablation_neurons,
        channels=lambda w: layer_of(w).channels,
        device=study.device,
        batch_size=study.batch_size,
        bootstrap=study.evaluation.bootstrap,
        confidence=study.evaluation.confidence,
        seed=study.seed,
        code=code_digest("ablate"),
    message:
        "replacing the neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/ablate.py"
