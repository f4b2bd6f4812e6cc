"""References, circuits, and the virtual neurons that they make.

REQUIRED INPUTS  {dataset}/images.h5, {dataset}/{model}/model.*, .../embeddings/*.h5
OUTPUTS          {dataset}/{model}/{layer}/activations.h5, relevances.h5, virtual_neurons.h5
"""


rule activations:
    input:
        images_h5=path("dataset"),
        weights=path("model"),
        card=path("model_card"),
        changed=changed(part("activations"), path("activations")),
    output:
        activations_h5=made(part("activations")),
    log:
        log_path("activations/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("activations/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("activations"),
        runtime=runtime("activations"),
    params:
        layer="{layer}",
        n_references=study.references,
        channels=lambda w: layer_of(w).channels,
        device=study.device,
        batch_size=study.batch_size,
        shard=shard_of("activations"),
        storage=study.storage,
        code=code_digest("activations"),
    message:
        "recording the activations of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/activations.py"


rule relevances:
    input:
        images_h5=path("dataset"),
        weights=path("model"),
        card=path("model_card"),
        activations_h5=path("activations"),
        changed=changed(part("relevances"), path("relevances")),
    output:
        relevances_h5=made(part("relevances")),
    log:
        log_path("relevances/{dataset}/{model}/{layer}"),
    benchmark:
        benchmark_path("relevances/{dataset}/{model}/{layer}")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=memory("relevances"),
        runtime=runtime("relevances"),
    params:
        layer="{layer}",
        lower_layers=lower_layers_of,
        neurons=lambda w: layer_of(w).neurons,
        channels=lambda w: layer_of(w).channels,
        normalize=study.relevances.normalize,
        device=study.device,
        batch_size=study.batch_size,
        shard=shard_of("relevances"),
        storage=study.storage,
        code=code_digest("relevances"),
    message:
        "attributing the neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset} to lower layers"
    script:
        "../workflow_scripts/relevances.py"


rule virtual_neurons:
    input:
        relevances_h5=path("relevances"),
        activations_h5=path("activations"),
        embeddings=embedding_paths,
        changed=changed(path("virtual_neurons")),
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
        embedders=study.patch_embedders,
        n_clusters=study.virtual_neurons.n_clusters,
        restarts=study.virtual_neurons.restarts,
        activations_baseline=study.virtual_neurons.activations_baseline,
        embedder_baselines=study.virtual_neurons.embedder_baselines,
        random_baseline=study.virtual_neurons.random_baseline,
        seed=study.seed,
        code=code_digest("virtual_neurons"),
    message:
        "splitting the neurons of {wildcards.model} {wildcards.layer} on {wildcards.dataset}"
    script:
        "../workflow_scripts/virtual_neurons.py"
