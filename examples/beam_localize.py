r"""Localizes objects in millions of images with Apache Beam and a SavedModel.

    pip install "keras-wsol[beam]"
    python examples/beam_localize.py --images 'photos/**/*.jpg' \
        --model saved_models/birds/1 --out runs/boxes

The list of images is sorted and cut into numbered shards. A shard is read, localized
(Beam's `RunInference`) and written to a temporary name that is then renamed, so that a
file that is there is complete; a second run does the missing shards and no others.

    OUT/job.json                        what the job is; another job is refused
    OUT/boxes-00003-of-00120.jsonl      path and objects of the shard's readable images
    OUT/unread-00003-of-00120.jsonl     path and reason of the others

`--images` is a glob, a `.tfrecord` file whose records are paths, or a `.parquet` file
with a column `path`; `--format parquet` writes Parquet instead of JSON Lines. Options
that are not listed by `--help` go to Beam: `--direct_num_workers=4
--direct_running_mode=multi_processing` for more processes here. The same pipeline is
meant for `--runner=FlinkRunner --flink_master=HOST:8081`, `--runner=SparkRunner` and
`--runner=DataflowRunner --project=... --temp_location=gs://...`, with paths that every
worker can open; it was run on the DirectRunner only.
"""

import argparse
import hashlib
import io
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
from apache_beam.options.pipeline_options import PipelineOptions


@dataclass(frozen=True)
class Shard:
    """Images that are localized and written together."""

    name: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class LoadedShard:
    """A shard and its files: bytes, or why there are none."""

    shard: Shard
    contents: tuple[bytes | None, ...]
    reasons: tuple[str, ...]


class LocalizerHandler(ModelHandler[LoadedShard, PredictionResult, Any]):
    """Runs the signature `serve_bytes` of a SavedModel over shards."""

    def __init__(self, path: str, batch_size: int) -> None:
        super().__init__()
        self._path = path
        self._batch_size = batch_size

    def load_model(self) -> Any:
        """Loads the SavedModel, once a worker."""
        import tensorflow as tf

        return tf.saved_model.load(self._path)

    def batch_elements_kwargs(self) -> dict[str, Any]:
        """One shard at a time: it is batched inside, and written when it is done."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def run_inference(
        self,
        batch: Sequence[LoadedShard],
        model: Any,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[PredictionResult]:
        """Gives the objects of each image, `None` for one that cannot be decoded."""
        del inference_args
        for loaded in batch:
            objects: dict[int, Any] = {}
            readable = [i for i, c in enumerate(loaded.contents) if c is not None]
            for start in range(0, len(readable), self._batch_size):
                chosen = readable[start : start + self._batch_size]
                contents = [loaded.contents[index] for index in chosen]
                found = _localize(model, contents)
                objects.update(zip(chosen, found, strict=True))
            yield PredictionResult(loaded, objects)

    def get_metrics_namespace(self) -> str:
        """Name under which Beam counts inferences."""
        return "keras_wsol"


def _localize(model: Any, contents: list[bytes]) -> list[list[dict[str, Any]] | None]:
    import tensorflow as tf

    outputs = model.signatures["serve_bytes"](image_bytes=tf.constant(contents))
    found = {name: value.numpy() for name, value in outputs.items()}
    images = []
    for index in range(len(contents)):
        objects = []
        for k in range(found["class_ids"].shape[1]):
            if not found["valid"][index, k]:
                continue
            entry = {"class_id": int(found["class_ids"][index, k])}
            if "class_names" in found:
                entry["class_name"] = found["class_names"][index, k].decode()
            entry["score"] = float(found["scores"][index, k])
            entry["box"] = [float(edge) for edge in found["boxes"][index, k]]
            objects.append(entry)
        images.append(objects or None)
    return images


def load(shard: Shard) -> LoadedShard:
    """Reads the files of a shard; one that cannot be read says why."""
    contents: list[bytes | None] = []
    reasons = []
    for path in shard.paths:
        try:
            with FileSystems.open(path) as file:
                contents.append(file.read())
            reasons.append("no image, cut off, too large, or without an object")
        except OSError as error:
            contents.append(None)
            reasons.append(f"cannot be opened: {error}")
    return LoadedShard(shard, tuple(contents), tuple(reasons))


class WriteShard(beam.DoFn):
    """Writes a localized shard: what was not read first, then the boxes.

    The file of boxes is the last, so that a shard that has one is complete.
    """

    def __init__(self, out: str, output_format: str) -> None:
        self._out = out
        self._format = output_format

    def process(self, result: PredictionResult) -> Iterator[str]:
        """Writes one shard and gives its name."""
        loaded, objects = result.example, result.inference
        rows, unread = [], []
        for index, path in enumerate(loaded.shard.paths):
            if objects.get(index):
                rows.append({"path": path, "objects": objects[index]})
            else:
                unread.append({"path": path, "reason": loaded.reasons[index]})
        for kind, content in (("unread", unread), ("boxes", rows)):
            name = f"{kind}-{loaded.shard.name}.{self._format}"
            write_whole(f"{self._out}/{name}", encode(content, self._format))
        yield loaded.shard.name


def encode(rows: list[dict[str, Any]], output_format: str) -> bytes:
    """Rows as JSON Lines or as Parquet."""
    if output_format == "jsonl":
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        return "".join(lines).encode()
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer)
    return buffer.getvalue()


def write_whole(path: str, content: bytes) -> None:
    """Writes a file that is there as a whole or not at all."""
    temporary = f"{path}.tmp"
    with FileSystems.create(temporary) as file:
        file.write(content)
    if FileSystems.exists(path):
        FileSystems.delete([path])
    FileSystems.rename([temporary], [path])


def list_images(pattern: str) -> list[str]:
    """Paths of the images, sorted, each once."""
    if pattern.endswith(".parquet"):
        import pyarrow.parquet as pq

        with FileSystems.open(pattern) as file:
            table = pq.read_table(io.BytesIO(file.read()), columns=["path"])
        paths = table.column("path").to_pylist()
    elif pattern.endswith(".tfrecord"):
        import tensorflow as tf

        paths = [r.numpy().decode() for r in tf.data.TFRecordDataset(pattern)]
    else:
        [match] = FileSystems.match([pattern])
        paths = [metadata.path for metadata in match.metadata_list]
    if not paths:
        raise SystemExit(f"There is no image: {pattern}")
    return sorted(set(paths))


def cut(paths: Sequence[str], shard_size: int) -> list[Shard]:
    """Cuts paths into numbered shards."""
    starts = range(0, len(paths), shard_size)
    return [
        Shard(
            f"{number:05d}-of-{len(starts):05d}",
            tuple(paths[start : start + shard_size]),
        )
        for number, start in enumerate(starts)
    ]


def check_job(out: str, job: dict[str, Any]) -> None:
    """Notes what the job is, or refuses to go on with another one."""
    path = f"{out}/job.json"
    if not FileSystems.exists(path):
        if not FileSystems.exists(out):
            FileSystems.mkdirs(out)
        return write_whole(path, json.dumps(job, indent=2).encode())
    with FileSystems.open(path) as file:
        before = json.loads(file.read())
    changed = [name for name in job if before.get(name) != job[name]]
    if changed:
        raise SystemExit(
            f"{out} holds another job: {', '.join(changed)} changed. Choose another "
            "--out, or go on with the same images, model and options."
        )
    return None


def run(options: argparse.Namespace, beam_arguments: Sequence[str]) -> int:
    """Localizes what is missing and returns the number of shards done."""
    paths = list_images(options.images)
    shards = cut(paths, options.shard_size)
    listing = hashlib.sha256("\n".join(paths).encode()).hexdigest()
    job = {
        "images": len(paths),
        "listing": listing,
        "shard_size": options.shard_size,
        "model": options.model,
        "format": options.format,
    }
    check_job(options.out, job)
    missing = [
        shard
        for shard in shards
        if not FileSystems.exists(f"{options.out}/boxes-{shard.name}.{options.format}")
    ]
    print(
        f"{len(paths)} images in {len(shards)} shards, "
        f"{len(shards) - len(missing)} of them done before",
        flush=True,
    )
    if missing:
        handler = LocalizerHandler(options.model, options.batch_size)
        with beam.Pipeline(options=PipelineOptions(list(beam_arguments))) as pipeline:
            (
                pipeline
                | "Shards" >> beam.Create(missing)
                | "Spread" >> beam.Reshuffle()
                | "Read" >> beam.Map(load)
                | "Localize" >> RunInference(handler)
                | "Write" >> beam.ParDo(WriteShard(options.out, options.format))
            )
    print(f"Done: {options.out}", flush=True)
    return len(missing)


def parse(arguments: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """Reads the command line; what is not known here is Beam's."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", help="glob, .tfrecord or .parquet of paths")
    parser.add_argument("--model", help="folder of the SavedModel")
    parser.add_argument("--out", help="folder to write")
    parser.add_argument("--format", choices=("jsonl", "parquet"), default="jsonl")
    parser.add_argument("--batch-size", type=int, default=32, help="images a call")
    parser.add_argument("--shard-size", type=int, default=256, help="images a file")
    parser.add_argument("--smoke", action="store_true", help="on drawn images")
    options, beam_arguments = parser.parse_known_args(arguments)
    if not options.smoke and not (options.images and options.model and options.out):
        parser.error("--images, --model and --out are needed")
    return options, beam_arguments


def smoke() -> None:
    """Draws images, exports an untrained model and localizes them."""
    from PIL import Image

    from keras_wsol import data, export, models

    with tempfile.TemporaryDirectory() as folder:
        drawn = data.synthetic("test", num_images=6, image_size=64)
        model = models.build_classifier(
            "mobilenet",
            num_classes=drawn.num_classes,
            weights=None,
            input_shape=(64, 64, 3),
            backbone_options={"alpha": 0.25},
        )
        export.export_saved_model(models.Localizer(model), f"{folder}/model/1")
        for index, image in enumerate(drawn.images):
            Image.fromarray(image.astype("uint8")).save(f"{folder}/{index}.png")
        Path(folder, "broken.png").write_bytes(b"no image")
        arguments = ["--images", f"{folder}/*.png", "--model", f"{folder}/model/1"]
        arguments += ["--out", f"{folder}/out", "--shard-size", "4"]
        options, beam_arguments = parse(arguments)
        assert run(options, beam_arguments) == 2
        assert run(options, beam_arguments) == 0
        print(*sorted(path.name for path in Path(folder, "out").iterdir()), sep="\n")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    options, beam_arguments = parse(arguments)
    if options.smoke:
        smoke()
    else:
        run(options, beam_arguments)


if __name__ == "__main__":
    main()
