"""Large bodies both ways; speed in relation to nginx."""

from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.bench import Bench, Running
from benchmarks.client import download_mb_per_s, upload_mb_per_s
from benchmarks.load import wrk
from benchmarks.machine import TICK_SECONDS
from benchmarks.table import Row, Table
from benchmarks.upstream import IMAGE, IMAGE_BYTES, UPLOAD, UPLOAD_BYTES, VIDEO, VIDEO_BYTES

_CONNECTIONS = 32
_UNITS = ("MB/s", "MB per CPU second")


def bulk(bench: Bench) -> Iterator[Table]:
    """Images, one large download, one large upload: MB by the second of time and of processor."""
    measures: dict[str, Callable[[Running], tuple[float, float]]] = {
        f"images of {IMAGE_BYTES // 1000} KB at {_CONNECTIONS} connections": partial(
            _images, seconds=bench.effort.seconds
        ),
        f"download of {VIDEO_BYTES // 10**6} MB": _download,
        f"upload of {UPLOAD_BYTES // 10**6} MB": _upload,
    }
    for scheme in bench.effort.schemes:
        for name, measure in measures.items():
            what = f"{name}, {scheme}"
            figures = bench.alternate(what, bench.fleet(scheme), measure)
            measured = [
                Row(what, unit, cells) for unit, cells in zip(_UNITS, figures, strict=False)
            ]
            yield Table("Large bodies", bench.names, measured, "nginx")


def _images(one: Running, *, seconds: int) -> tuple[float, float]:
    before = one.program.cpu_seconds()
    report = wrk(one.url(IMAGE), connections=_CONNECTIONS, seconds=seconds)
    return (
        report.per_second * IMAGE_BYTES / 1e6,
        _per_cpu_second(one, before, report.requests * IMAGE_BYTES),
    )


def _download(one: Running) -> tuple[float, float]:
    before = one.program.cpu_seconds()
    speed = download_mb_per_s(one.address, VIDEO)
    return speed, _per_cpu_second(one, before, VIDEO_BYTES)


def _upload(one: Running) -> tuple[float, float]:
    before = one.program.cpu_seconds()
    speed = upload_mb_per_s(one.address, UPLOAD, UPLOAD_BYTES)
    return speed, _per_cpu_second(one, before, UPLOAD_BYTES)


def _per_cpu_second(one: Running, before: float, size: int) -> float:
    """MB for each second of processor time since ``before``, which moves by the clock's tick."""
    used = max(one.program.cpu_seconds() - before, TICK_SECONDS)
    return size / 1e6 / used
