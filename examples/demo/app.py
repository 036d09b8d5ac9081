"""A page to drop images on: class, score map and box; of a folder or zip, labels.

    pip install ".[demo]"
    python examples/demo/app.py --model runs/birds/localizer.keras

The network sees an image once; the threshold moves on what it has found. Without
`--model`, and with no path in `WSOL_MODEL`, a small localizer learns from drawn
creatures and is kept in runs/demo. Nothing is downloaded, and what
is dropped stays on the machine that serves the page. `GRADIO_SERVER_NAME` and
`GRADIO_SERVER_PORT` say where that is; by default only this machine sees it.
"""

import argparse
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import gradio as gr
import keras
from creatures import of_creatures, pictures
from seen import Localizers, by_map, look, show
from uploads import (
    MOST_BYTES,
    MOST_ENTRIES,
    MOST_FILES,
    NO_IMAGE,
    SUFFIXES,
    collected,
)

import keras_wsol as wsol

HEIGHT = 420  # of pictures, in pixels
FORMATS = {"COCO": "labels.json", "YOLO": "labels"}
INTRODUCTION = """# Where is it?
A classifier that learned from class labels alone says what is in an image. The **score
map** says how much each pixel has to do with it; the box is that of its largest part
above the **threshold**, a share of the maximum. A lower one makes larger boxes."""
MOST_MEGABYTES = 200  # of a file, a zip too
LIMITS = f"""Images, zips of them, or a folder, to labels that a detector trains on, by
the score map and the threshold above. At once: at most {MOST_FILES} images, and
{MOST_BYTES // 10**6} MB together when unpacked; a file of at most {MOST_MEGABYTES} MB,
a zip of at most {MOST_ENTRIES:,} files."""

# Gradio takes a folder that is chosen; of one that is dropped it reads no file.
DROPPED = """() => document.addEventListener("drop", async drop => {
    const input = drop.target.closest("#folder")?.querySelector("input[type=file]");
    if (!input) return;
    drop.preventDefault();
    drop.stopPropagation();
    const files = new DataTransfer();
    const add = async entry => {
        const ask = method => new Promise(method.bind(entry));
        if (entry.isFile) return files.items.add(await ask(entry.file));
        const reader = entry.createReader();
        const next = () => new Promise(reader.readEntries.bind(reader));
        for (let some; (some = await next()).length;)
            for (const each of some) await add(each);
    };
    const items = [...drop.dataTransfer.items].map(item => item.webkitGetAsEntry());
    for (const entry of items.filter(Boolean)) await add(entry);
    input.files = files.files;
    input.dispatchEvent(new Event("change"));
}, true)"""


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    path = os.environ.get("WSOL_MODEL")
    parser.add_argument("--model", default=path, help="localizer or classifier, .keras")
    options = parser.parse_args()
    folder, shown = Path("runs/demo"), []
    if options.model:
        model = keras.saving.load_model(options.model, compile=False)
    else:
        model, shown = of_creatures(folder), pictures(folder)
    localizer = model if isinstance(model, wsol.Localizer) else wsol.Localizer(model)
    blocks = page(localizer, shown).queue(max_size=20)
    blocks.launch(max_file_size=f"{MOST_MEGABYTES}mb", js=DROPPED)


def label(
    localizers: Localizers,
    files: Sequence[str] | None,
    folder: Sequence[str] | None,
    form: str,
    name: str,
    threshold: float,
) -> Iterator[tuple[str | None, str, list[tuple[str, str]]]]:
    """Yields a file of labels, how many boxes are in it, and what was left out."""
    localizers[name].cam_threshold = threshold  # one visitor at a time is here
    with tempfile.TemporaryDirectory() as place:
        images, out = Path(place, "images"), Path(place, FORMATS[form])
        images.mkdir()
        left_out: list[tuple[str, str]] = []
        try:
            left_out += collected([*(files or ()), *(folder or ())], images)
            opened = wsol.data.image_files(images)
            done = wsol.labels.write_pseudo_labels(
                localizers[name],
                opened,
                out,
                form.lower(),
                images_root=images,
                batch_size=8,
            )
        except ValueError as error:  # too many images, none, or none that can be read
            words = str(error).replace(f"{images}{os.sep}", "")
            yield None, words.replace(str(images), "What is given"), left_out
            return
        if out.is_dir():
            out = Path(shutil.make_archive(str(out), "zip", out))
        # Gradio copies the file before it asks for more; then the folder goes.
        boxes = counted(done.num_boxes, "box", "es")
        words = f"{boxes} in {counted(len(opened), 'image')}"
        broken = [file for file, why in left_out if why != NO_IMAGE]
        broken += [str(Path(file).relative_to(images)) for file, _ in opened.left_out]
        if broken:
            names = ", ".join(broken[:3] + ["..."] * (len(broken) > 3))
            words += f"; {counted(len(broken), 'file')} could not be read: {names}"
        yield str(out), words, [*left_out, *done.left_out]


def counted(count: int, one: str, end: str = "s") -> str:
    """Says how many there are: 1 file, 2 files."""
    return f"{count} {one}{end * (count != 1)}"


def page(localizer: wsol.Localizer, shown: Sequence[str] = ()) -> gr.Blocks:
    """Makes the page, with pictures to try it on."""
    localizers = by_map(localizer)
    thresholds = {n: round(each.cam_threshold, 2) for n, each in localizers.items()}
    own = thresholds[next(iter(localizers))]
    # Files of visitors go after an hour; Gradio counts no visits.
    options = {"analytics_enabled": False, "delete_cache": (3600, 3600)}
    with gr.Blocks(title="Where is it?", **options) as blocks:
        gr.Markdown(INTRODUCTION)
        with gr.Row():
            chosen = gr.Dropdown(list(localizers), label="Score map", elem_id="map")
            cut = gr.Slider(0, 0.99, own, step=0.01, label="Threshold", elem_id="cut")
        with gr.Tab("One image"):
            seen = gr.State()
            with gr.Row():
                image = gr.Image(
                    type="filepath",
                    image_mode=None,  # Gradio does not decode it
                    sources=["upload", "clipboard"],
                    height=HEIGHT,
                    label="Image",
                    elem_id="image",
                )
                found = gr.Image(
                    format="jpeg",
                    interactive=False,
                    buttons=["download", "fullscreen"],
                    height=HEIGHT,
                    label="Found",
                )
            with gr.Row():
                classes = gr.Label(num_top_classes=3, label="Class", elem_id="classes")
                box = gr.Textbox(label="Box: x0, y0, x1, y1 in pixels", elem_id="box")
            if shown:
                gr.Examples(list(shown), image, label="Drawn creatures")
        with gr.Tab("Many images"):
            gr.Markdown(LIMITS)
            with gr.Row():
                files = gr.File(
                    file_count="multiple",
                    file_types=[*SUFFIXES, ".zip"],
                    label="Images or zips",
                    elem_id="files",
                )
                folder = gr.File(
                    file_count="directory",
                    file_types=list(SUFFIXES),
                    label="A folder",
                    elem_id="folder",
                )
            form = gr.Radio(list(FORMATS), value="COCO", label="Format", elem_id="form")
            button = gr.Button("Find boxes", variant="primary", elem_id="find")
            words = gr.Textbox(label="Found", elem_id="words")
            labels = gr.File(label="Labels", elem_id="labels")
            left = gr.Dataframe(
                headers=["file", "why"], label="Left out", elem_id="left"
            )
        drawn = {
            "fn": show,
            "inputs": [seen, chosen, cut],
            "outputs": [found, classes, box],
            "show_progress": "hidden",
        }
        network = {"concurrency_id": "network", "concurrency_limit": 1}
        image.change(partial(look, localizers), image, seen, **network).then(**drawn)
        chosen.input(thresholds.get, chosen, cut).then(**drawn)
        cut.input(**drawn, trigger_mode="always_last")
        given, told = [files, folder, form, chosen, cut], [labels, words, left]
        button.click(partial(label, localizers), given, told, **network)
    return blocks


if __name__ == "__main__":
    main()
