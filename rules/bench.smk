"""The benchmark: every stage against its definition, the published program and its floor (``snakemake bench``).

REQUIRED INPUTS  none
OUTPUTS          bench/bench.json, ratios.csv, growth.csv, sizes.csv, figures/
"""


rule comparisons:
    input:
        **inputs("bench"),
    output:
        bench_json=update(path("bench")),
        ratios_csv=update(path("bench_ratios")),
        growth_csv=update(path("bench_growth")),
        sizes_csv=update(path("bench_sizes")),
    log:
        log_path("comparisons"),
    benchmark:
        benchmark_path("comparisons")
    conda:
        "../envs/purelens.yaml"
    threads: settings.threads
    resources:
        gpu=1,
        mem_mb=8000,
        runtime=60,
    params:
        studies={
            name: bench.model_dump() for name, bench in settings.bench.studies.items()
        },
        repeats=settings.bench.repeats,
        watch=bundled_digests("report/gallery.html"),
        seed=settings.seed,
        code=code_digest("comparisons"),
    message:
        "timing every stage in every implementation"
    script:
        "../workflow_scripts/comparisons.py"


rule bench_figures:
    input:
        **inputs(
            "bench_figures",
            ratios_csv=path("bench_ratios"),
            growth_csv=path("bench_growth"),
        ),
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
