"""Put the shards of a stage together, where several jobs share its work (config key ``shards``).

REQUIRED INPUTS  {dataset}/{model}/{layer}/shards/*.h5, {dataset}/lens/{embedder}/{block}/shards/*.h5
OUTPUTS          {dataset}/{model}/{layer}/activations.h5, relevances.h5, patches.h5, embeddings/*.h5,
                 {dataset}/lens/{embedder}/{block}/effects.h5
"""


rule gather:
    input:
        **inputs(
            "stage",
            shards=study.shards_of,
        ),
    output:
        gathered_h5=update(path("stage")),
    log:
        log_path("gather/{folder}/{stage}"),
    benchmark:
        benchmark_path("gather/{folder}/{stage}")
    wildcard_constraints:
        stage=study.sharded_stages(),
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=memory("gather"),
        runtime=runtime("gather"),
    params:
        code=code_digest("gather"),
    message:
        "putting the shards of {wildcards.folder}/{wildcards.stage} together"
    script:
        "../workflow_scripts/gather.py"
