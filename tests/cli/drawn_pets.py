"""A folder of drawn images by class, and a few boxes."""

from pathlib import Path
from types import SimpleNamespace

from PIL import Image

from keras_wsol import data

SIZE = (64, 80)  # height and width
IMAGES = 24


def write_pets(root):
    """Draws them; one is broken on each side of the split of `train`.

    Beside it: boxes of half of them in test.csv, of the others in tune.csv.
    """
    drawn = data.synthetic(num_images=IMAGES, num_classes=3, image_size=SIZE)
    lines = [[], []]
    for index, class_id in enumerate(drawn.class_ids):
        path = root / "images" / drawn.class_names[class_id] / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn.images[index]).save(path)
        box = ",".join(str(edge) for edge in drawn.boxes[index, 0])
        lines[index // 3 % 2].append(f"{path.name},{box}\n")
    for name, boxes in zip(("test", "tune"), lines, strict=True):
        (root / f"{name}.csv").write_text("path,x0,y0,x1,y1\n" + "".join(boxes))
    train, val = (
        data.image_folder(root / "images", x, verify=False) for x in ("train", "val")
    )
    of_val = next(p for p in val.paths if f"{Path(p).name}," in "".join(lines[0]))
    broken = [str(train.paths[0]), str(of_val)]
    for path in broken:
        Path(path).write_bytes(b"broken")
    return SimpleNamespace(
        root=root, images=root / "images", broken=broken, train=train, val=val
    )
