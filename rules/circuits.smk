"""References, circuits, and virtual neurons.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.*, .../embeddings/*.h5
OUTPUTS          {dataset}/{model}/{layer}/activations.h5, relevances.h5, virtual_neurons.h5, polysemanticity.h5, .csv
"""


rule activations:
    input:
        **inputs(
            "activations",
            images_h5=path("dataset"),
            model=model_files(),
        ),
    output:
        activations_h5=output("activations"),
    log:
        log_path("activations/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("activations/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("activations"),
        runtime=runtime("activations"),
    params:
        layer=study.layer_view,
        n_references=settings.references,
        reference_criterion=settings.reference_criterion,
        device=settings.device,
        batch_size=settings.batch_size,
        shard=study.shard_of("activations"),
        storage=settings.storage,
        code=code_digest("activations"),
    message:
        "recording the activations of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/activations.py"


rule relevances:
    input:
        **inputs(
            "relevances",
            images_h5=path("dataset"),
            model=model_files(),
            activations_h5=path("activations"),
        ),
    output:
        relevances_h5=output("relevances"),
    log:
        log_path("relevances/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("relevances/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=memory("relevances"),
        runtime=runtime("relevances"),
    params:
        layer=study.layer_view,
        lower_layers=study.lower_layers,
        inner_layers=study.inner_layers,
        neurons=study.neurons,
        normalize=settings.relevances.normalize,
        skip_channels=settings.relevances.skip_channels,
        weighted_activations=settings.virtual_neurons.joint,
        reference_criterion=settings.reference_criterion,
        device=settings.device,
        batch_size=settings.batch_size,
        shard=study.shard_of("relevances"),
        storage=settings.storage,
        code=code_digest("relevances"),
    message:
        "attributing the neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset} to lower layers"
    script:
        "../workflow_scripts/relevances.py"


rule virtual_neurons:
    input:
        **inputs(
            "virtual_neurons",
            relevances_h5=path("relevances"),
            activations_h5=path("activations"),
            dictionaries_h5=learned_dictionaries,
            embeddings=embedding_paths,
        ),
    output:
        virtual_neurons_h5=update(path("virtual_neurons")),
    log:
        log_path("virtual_neurons/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("virtual_neurons/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("virtual_neurons"),
        runtime=runtime("virtual_neurons"),
    params:
        embedders=settings.patch_embedders,
        n_clusters=settings.virtual_neurons.n_clusters,
        restarts=settings.virtual_neurons.restarts,
        joint=settings.virtual_neurons.joint,
        activations_baseline=settings.virtual_neurons.activations_baseline,
        embedder_baselines=settings.virtual_neurons.embedder_baselines,
        random_baseline=settings.virtual_neurons.random_baseline,
        seed=settings.seed,
        code=code_digest("virtual_neurons"),
    message:
        "splitting the neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/virtual_neurons.py"


rule polysemanticity:
    input:
        **inputs(
            "polysemanticity",
            relevances_h5=path("relevances"),
            activations_h5=path("activations"),
        ),
    output:
        polysemanticity_h5=update(path("polysemanticity")),
        polysemanticity_csv=report(
            update(path("polysemanticity_table")),
            caption="../workflow_scripts/report/polysemanticity.rst",
            category="{model}",
            subcategory="{layer}",
            labels={"what": "polysemantic neurons", "dataset": "{dataset}"},
        ),
    log:
        log_path("polysemanticity/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("polysemanticity/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("polysemanticity"),
        runtime=runtime("polysemanticity"),
    params:
        false_discovery_rate=settings.virtual_neurons.false_discovery_rate,
        most_virtual_neurons=settings.virtual_neurons.most_virtual_neurons,
        code=code_digest("polysemanticity"),
    message:
        "testing which neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset} are polysemantic"
    script:
        "../workflow_scripts/polysemanticity.py"
