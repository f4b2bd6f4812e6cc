"""The benchmark: every stage against its definition, the published way and its floor (``snakemake bench``).

REQUIRED INPUTS  none
OUTPUTS          bench/bench.json, ratios.csv, growth.csv, sizes.csv, figures/
"""


rule contests:
    input:
        changed=changed(path("bench")),
    output:
        bench_json=update(path("bench")),
        ratios_csv=update(path("bench_ratios")),
        growth_csv=update(path("bench_growth")),
        sizes_csv=update(path("bench_sizes")),
    log:
        log_path("contests"),
    benchmark:
        benchmark_path("contests")
    conda:
        "../envs/purelens.yaml"
    threads: study.threads
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=60,
    params:
        studies={
            name: bench.model_dump() for name, bench in study.bench.studies.items()
        },
        repeats=study.bench.repeats,
        seed=study.seed,
        code=code_digest("contests"),
    message:
        "timing every stage in every way"
    script:
        "../workflow_scripts/contests.py"


rule bench_figures:
    input:
        ratios_csv=path("bench_ratios"),
        growth_csv=path("bench_growth"),
        changed=changed(path("bench_figures")),
    output:
        folder=update(path("bench_figures")),
    log:
        log_path("bench_figures"),
    benchmark:
        benchmark_path("bench_figures")
    conda:
        "../envs/purelens.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code_digest("bench_figures"),
    message:
        "drawing the benchmark"
    script:
        "../workflow_scripts/bench_figures.py"
