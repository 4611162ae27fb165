"""Large bodies both ways; speed in relation to nginx."""

from collections.abc import Iterator

from benchmarks.bench import Bench, Running
from benchmarks.client import download_mb_per_s, upload_mb_per_s
from benchmarks.load import wrk
from benchmarks.proxies import PEERS
from benchmarks.table import Row, Table
from benchmarks.upstream import IMAGE, IMAGE_BYTES, UPLOAD, UPLOAD_BYTES, VIDEO, VIDEO_BYTES


def bulk(bench: Bench) -> Iterator[Table]:
    """Images by the second, and MB/s of one large download and upload."""

    def images(one: Running) -> tuple[float]:
        return (wrk(one.url(IMAGE), connections=32, seconds=bench.effort.seconds).per_second,)

    def download(one: Running) -> tuple[float]:
        return (download_mb_per_s(one.address, VIDEO),)

    def upload(one: Running) -> tuple[float]:
        return (upload_mb_per_s(one.address, UPLOAD, UPLOAD_BYTES),)

    for scheme in bench.effort.schemes:
        for name, unit, measure in (
            (f"images of {IMAGE_BYTES // 1000} KB at 32 connections", "req/s", images),
            (f"download of {VIDEO_BYTES // 10**6} MB", "MB/s", download),
            (f"upload of {UPLOAD_BYTES // 10**6} MB", "MB/s", upload),
        ):
            what = f"{name}, {scheme}"
            figures = bench.alternate(what, bench.fleet(scheme), measure)
            measures = [Row(what, unit, cells) for cells in figures]
            yield Table("Large bodies", tuple(PEERS), measures, "nginx")
