"""The table of a plan."""

from purelens.reruns.plan import duration, size, table


def test_the_table_of_a_plan() -> None:
    job = {"rule": "patches", "reasons": ["blur"], "bytes": 3_000_000, "memory_mb": 2048, "seconds": 90.0}
    other = {"rule": "umap", "reasons": ["missing"], "bytes": None, "memory_mb": 300, "seconds": None}
    lines = table([job, job, other]).splitlines()
    assert lines[1].split() == ["patches", "2", "blur", "5.7", "MB", "2.0", "GB", "3", "min"]
    assert lines[2].split() == ["umap", "1", "missing", "-", "300", "MB", "-"]
    assert lines[3].split()[:2] == ["all", "3"]
    assert lines[-1].endswith("known for 2 of 3 jobs.")
    assert table([]).startswith("Nothing to be done")


def test_units() -> None:
    assert [size(n) for n in (0, 900, 2048, 5 * 2**20, 50 * 2**20, 3 * 2**40)] == [
        "0 B",
        "900 B",
        "2 kB",
        "5.0 MB",
        "50 MB",
        "3.0 TB",
    ]
    assert [duration(s) for s in (None, 4, 90, 7300)] == ["-", "4 s", "2 min", "2 h 2 min"]
