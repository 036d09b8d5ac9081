r"""Localizes objects in millions of images with Apache Beam and a SavedModel.

    pip install ".[beam]"
    python examples/beam_localize.py --images 'photos/**/*.jpg' \
        --model saved_models/birds/1 --out runs/boxes

The list of images is sorted and cut into numbered shards. A shard is read, localized
(Beam's `RunInference`) and written to a temporary name that is then renamed, so that a
file that is there is complete; a second run does the missing shards and no others.

    OUT/job.json                        what the job is; another job is refused
    OUT/paths.jsonl                     the sorted list: a worker reads its shard's part
    OUT/boxes-00003-of-00120.jsonl      path and objects of the shard's readable images
    OUT/unread-00003-of-00120.jsonl     path and reason of the others

A readable image without an object has the objects `[]`. One run at a time may write
into OUT: it begins by deleting the temporary files of killed ones.

`--images` is a glob, a `.tfrecord` file whose records are paths, or a `.parquet` file
with a column `path`; in a glob, `**` stands for any number of folders, also none.
`--format parquet` writes Parquet instead of JSON Lines. A worker holds `--batch-size`
files at a time, each of `--max-bytes` or less.

The job that is submitted holds less than 40 bytes a shard, whatever is in it. Dataflow
takes 10 MB: above 50 million images, raise `--shard-size`.

Options that are not listed by `--help` go to Beam: `--direct_num_workers=4
--direct_running_mode=multi_processing` for more processes here. The same pipeline is
meant for `--runner=FlinkRunner --flink_master=HOST:8081`, `--runner=SparkRunner` and
`--runner=DataflowRunner --project=... --temp_location=gs://...`, with paths that every
worker can open; it was run on the DirectRunner only.
"""

import argparse
import hashlib
import io
import itertools
import json
import logging
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.ml.inference.base import ModelHandler, PredictionResult, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

LISTING = "paths.jsonl"
UNDECODED = "cannot be decoded, or is above the model's size limit"
CHUNK = 1 << 20

# What goes from step to step is made of plain types, since workers cannot unpickle the
# classes of a program that they did not start.
# Name of a shard, and where its paths begin and end in the listing.
Span = tuple[str, int, int]
# Name of a shard, and its paths.
Shard = tuple[str, tuple[str, ...]]
# The `objects` of an image, or the `reason` why it could not be read.
Found = dict[str, Any]


class LocalizerHandler(ModelHandler[Shard, PredictionResult, Any]):
    """Runs the signature `serve_bytes` of a SavedModel over shards."""

    def __init__(self, path: str, batch_size: int, max_bytes: int) -> None:
        super().__init__()
        self._path = path
        self._batch_size = batch_size
        self._max_bytes = max_bytes

    def load_model(self) -> Any:
        """Loads the SavedModel, once a worker."""
        import tensorflow as tf

        return tf.saved_model.load(self._path)

    def batch_elements_kwargs(self) -> dict[str, Any]:
        """One shard at a time: it is batched inside, and written when it is done."""
        return {"min_batch_size": 1, "max_batch_size": 1}

    def run_inference(
        self,
        batch: Sequence[Shard],
        model: Any,
        inference_args: dict[str, Any] | None = None,
    ) -> Iterable[PredictionResult]:
        """Gives a `Found` for each image of a shard, a batch of files in memory."""
        del inference_args
        for shard in batch:
            found: list[Found] = []
            _, paths = shard
            for start in range(0, len(paths), self._batch_size):
                chosen = paths[start : start + self._batch_size]
                found += self._localize(model, chosen)
            yield PredictionResult(shard, found)

    def get_metrics_namespace(self) -> str:
        """Name under which Beam counts inferences."""
        return "keras_wsol"

    def _localize(self, model: Any, paths: Sequence[str]) -> Iterator[Found]:
        files = [read_image(path, self._max_bytes) for path in paths]
        contents = [file for file in files if isinstance(file, bytes)]
        found = iter(localize(model, contents) if contents else [])
        for file in files:
            yield next(found) if isinstance(file, bytes) else file


def localize(model: Any, contents: list[bytes]) -> list[Found]:
    """Localizes encoded images; one that cannot be decoded has no score at all."""
    import tensorflow as tf

    outputs = model.signatures["serve_bytes"](image_bytes=tf.constant(contents))
    found = {name: value.numpy() for name, value in outputs.items()}
    images = []
    for index in range(len(contents)):
        if not found["scores"][index].any():
            images.append({"reason": UNDECODED})
            continue
        objects = []
        for k in found["valid"][index].nonzero()[0]:
            entry = {"class_id": int(found["class_ids"][index, k])}
            if "class_names" in found:
                entry["class_name"] = found["class_names"][index, k].decode()
            entry["score"] = float(found["scores"][index, k])
            entry["box"] = [float(edge) for edge in found["boxes"][index, k]]
            objects.append(entry)
        images.append({"objects": objects})
    return images


def read_image(path: str, max_bytes: int) -> bytes | Found:
    """Reads a file, or gives the reason why not."""
    try:
        with open_file(path) as file:
            content = read_at_most(file, max_bytes + 1)
    except MemoryError:
        raise  # says nothing of the file; the shard is done again
    except Exception as error:
        # Each file system raises what its client does: no common class is narrower.
        logging.info("%r cannot be read", path, exc_info=True)
        return {"reason": f"cannot be opened: {type(error).__name__}: {error}"}
    if len(content) > max_bytes:
        return {"reason": f"has more than {max_bytes} bytes (--max-bytes)"}
    return content


def read_shard(span: Span, listing: str) -> Shard:
    """Reads the paths of a shard in the listing."""
    name, start, end = span
    with open_file(listing) as file:
        file.seek(start)
        lines = read_at_most(file, end - start).splitlines()
    return name, tuple(map(json.loads, lines))


class WriteShard(beam.DoFn):
    """Writes a localized shard: what was not read first, then the boxes.

    The file of boxes is the last, so that a shard that has one is complete.
    """

    def __init__(self, out: str, output_format: str) -> None:
        self._out = out
        self._format = output_format

    def process(self, result: PredictionResult) -> Iterator[str]:
        """Writes one shard and gives its name."""
        shard, paths = result.example
        boxes, unread = [], []
        for path, found in zip(paths, result.inference, strict=True):
            rows = unread if "reason" in found else boxes
            rows.append({"path": path, **found})
        for kind, rows in (("unread", unread), ("boxes", boxes)):
            name = f"{kind}-{shard}.{self._format}"
            write_whole(f"{self._out}/{name}", encode(kind, rows, self._format))
        yield shard


def encode(kind: str, rows: list[dict[str, Any]], output_format: str) -> bytes:
    """Rows of `"boxes"` or `"unread"` as JSON Lines or as Parquet."""
    if output_format == "jsonl":
        return json_lines(rows)
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Written down, so that the files of a job are one table: what is in a shard without
    # an object, or without a readable image, tells no types.
    of_object = {"class_id": pa.int32(), "class_name": pa.string()}
    of_object |= {"score": pa.float32(), "box": pa.list_(pa.float32())}
    column = {
        "boxes": ("objects", pa.list_(pa.struct(of_object))),
        "unread": ("reason", pa.string()),
    }
    schema = pa.schema([("path", pa.string()), column[kind]])
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema), buffer)
    return buffer.getvalue()


def json_lines(values: Iterable[Any]) -> bytes:
    """One line of JSON a value."""
    lines = (json.dumps(value, ensure_ascii=False) + "\n" for value in values)
    return "".join(lines).encode()


def open_file(path: str) -> BinaryIO:
    """Opens a file for reading; what it holds is not decompressed."""
    return FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED)


def read_at_most(file: BinaryIO, count: int) -> bytes:
    """Reads so many bytes, fewer only at the end of the file."""
    chunks = []
    while count and (chunk := file.read(min(count, CHUNK))):
        chunks.append(chunk)
        count -= len(chunk)
    return b"".join(chunks)


def read_whole(path: str) -> bytes:
    """Reads a file."""
    with open_file(path) as file:
        return file.read()


def is_local(path: str) -> bool:
    """Whether a path is one of this machine."""
    return FileSystems.get_scheme(path) is None


def write_whole(path: str, content: bytes) -> None:
    """Writes a file that is there as a whole or not at all.

    The temporary name is new each time: Beam may run one shard twice at once.
    """
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    with FileSystems.create(
        temporary, compression_type=CompressionTypes.UNCOMPRESSED
    ) as file:
        file.write(content)
    if is_local(path):
        Path(temporary).replace(path)
        return
    # Object stores copy over what is there; HDFS refuses to.
    if FileSystems.get_scheme(path) == "hdfs" and FileSystems.exists(path):
        FileSystems.delete([path])
    FileSystems.rename([temporary], [path])


def names_in(folder: str) -> set[str]:
    """Names of the files in a folder, none if it is not there."""
    if is_local(folder):
        # Not by a pattern: the folder's own name may hold brackets.
        there = Path(folder).is_dir()
        return {path.name for path in Path(folder).iterdir()} if there else set()
    [match] = FileSystems.match([f"{folder}/*"])
    return {metadata.path.rpartition("/")[2] for metadata in match.metadata_list}


def delete_leftovers(out: str) -> None:
    """Deletes the temporary files of runs that were killed."""
    leftovers = [f"{out}/{name}" for name in names_in(out) if name.endswith(".tmp")]
    if is_local(out):
        for path in leftovers:
            Path(path).unlink(missing_ok=True)
    elif leftovers:
        FileSystems.delete(leftovers)


def list_images(pattern: str) -> list[str]:
    """Paths of the images, sorted, each once."""
    if pattern.endswith(".parquet"):
        import pyarrow.parquet as pq

        table = pq.read_table(io.BytesIO(read_whole(pattern)), columns=["path"])
        paths = table.column("path").to_pylist()
    elif pattern.endswith(".tfrecord"):
        import tensorflow as tf

        records = tf.data.TFRecordDataset(pattern)
        paths = [r.numpy().decode("utf-8", "surrogateescape") for r in records]
    else:
        matches = FileSystems.match(patterns_of(pattern))
        paths = [found.path for match in matches for found in match.metadata_list]
    named = [path for path in paths if path]
    if len(named) < len(paths):
        print(f"{len(paths) - len(named)} rows of {pattern} name no image", flush=True)
    if not named:
        raise SystemExit(f"There is no image: {pattern}")
    return sorted(set(map(written_path, named)))


def patterns_of(pattern: str) -> list[str]:
    """Beam's patterns for a glob: its `/**/` is a folder or more, not none."""
    parts = pattern.split("/**/")
    between = itertools.product(("/**/", "/"), repeat=len(parts) - 1)
    return [
        parts[0] + "".join(map("".join, zip(chosen, parts[1:], strict=True)))
        for chosen in between
    ]


def written_path(path: Any) -> str:
    """Returns a path that can be written to JSON and Parquet, or ends the program."""
    if not isinstance(path, str):
        raise SystemExit(f"The column `path` must hold text. Received: {path!r}.")
    try:
        path.encode()
    except UnicodeEncodeError as error:
        raise SystemExit(
            f"Paths must be UTF-8 text. Received: {path!r}. Rename the file, or list "
            "the others in a .tfrecord or .parquet file."
        ) from error
    return path


def cut(paths: Sequence[str], shard_size: int) -> tuple[list[Span], bytes]:
    """Cuts paths into numbered shards; returns these and the listing."""
    spans, parts, begin = [], [], 0
    starts = range(0, len(paths), shard_size)
    for number, start in enumerate(starts):
        parts.append(json_lines(paths[start : start + shard_size]))
        end = begin + len(parts[-1])
        spans.append((f"{number:05d}-of-{len(starts):05d}", begin, end))
        begin = end
    return spans, b"".join(parts)


def digest_of_model(path: str) -> str:
    """Returns a number that differs for another graph or other weights."""
    variables = names_in(f"{path}/variables")
    names = ["saved_model.pb", *sorted(f"variables/{name}" for name in variables)]
    if "saved_model.pb" not in names_in(path):
        raise SystemExit(f"There is no SavedModel: {path}")
    digest = hashlib.sha256()
    for name in names:
        digest.update(name.encode())
        with open_file(f"{path}/{name}") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def check_job(out: str, job: dict[str, Any]) -> None:
    """Notes what the job is, or refuses to go on with another one."""
    path = f"{out}/job.json"
    if not FileSystems.exists(path):
        if not FileSystems.exists(out):
            FileSystems.mkdirs(out)
        return write_whole(path, json.dumps(job, indent=2).encode())
    before = json.loads(read_whole(path))
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
    spans, listing = cut(paths, options.shard_size)
    job = {
        "images": len(paths),
        "listing": hashlib.sha256(listing).hexdigest(),
        "shard_size": options.shard_size,
        "model": options.model,
        "model_sha256": digest_of_model(options.model),
        "max_bytes": options.max_bytes,
        "format": options.format,
    }
    check_job(options.out, job)
    delete_leftovers(options.out)
    there = names_in(options.out)
    if LISTING not in there:
        write_whole(f"{options.out}/{LISTING}", listing)
    missing = [s for s in spans if f"boxes-{s[0]}.{options.format}" not in there]
    print(
        f"{len(paths)} images in {len(spans)} shards, "
        f"{len(spans) - len(missing)} of them done before",
        flush=True,
    )
    if missing:
        handler = LocalizerHandler(options.model, options.batch_size, options.max_bytes)
        with beam.Pipeline(options=PipelineOptions(list(beam_arguments))) as pipeline:
            (
                pipeline
                | "Shards" >> beam.Create(missing)
                | "Spread" >> beam.Reshuffle()
                | "Paths" >> beam.Map(read_shard, f"{options.out}/{LISTING}")
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
    parser.add_argument(
        "--max-bytes", type=int, default=100_000_000, help="of a file that is read"
    )
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
