"""The README of an export: how to use it without this program."""

from __future__ import annotations

from typing import Any

from tracker.deploy.describing import requirements
from tracker.deploy.pipeline import MODEL_JSON
from tracker.study.shifts import AS_IS

LOADING = {
    "torch": """import json, numpy, torch
from PIL import Image, ImageOps
network, classes = torch.export.load("model.pt2").module(), json.load(open("model.json"))["classes"]
image = numpy.array(ImageOps.exif_transpose(Image.open("image.png")).convert("{mode}"))  # (H, W{last}), any size
probabilities = network(torch.from_numpy(image{to_chw}))[0].tolist()
print(max(zip(probabilities, classes)))""",
    "onnx": """import json, numpy, onnxruntime
from PIL import Image, ImageOps
network, classes = onnxruntime.InferenceSession("model.onnx"), json.load(open("model.json"))["classes"]
image = numpy.array(ImageOps.exif_transpose(Image.open("image.png")).convert("{mode}"))  # (H, W{last}), any size
probabilities = network.run(None, {{"images": image{to_chw}}})[0][0].tolist()
print(max(zip(probabilities, classes)))""",
    "mlflow": """import mlflow, numpy
from PIL import Image, ImageOps
network = mlflow.pyfunc.load_model(".")
image = numpy.array(ImageOps.exif_transpose(Image.open("image.png")).convert("{mode}"))  # (H, W{last}), any size
print(network.predict({{"images": image{to_chw}}}))""",
}
"""How to use a folder of each format without this program, run inside it."""
SERVING = """As a server on this machine:

```bash
mlflow models serve -m . --env-manager local --host 127.0.0.1 --port 5001
```

It takes `{"inputs": {"images": [...]}}`, nested lists of bytes (N, C, H, W), at `/invocations`."""

TRUST = {
    "torch": "`torch.export.load` can run code that a file holds: load one only if you trust whoever made it.",
    "onnx": "An ONNX file is data: nothing in it is run but its operators.",
    "mlflow": "The folder holds a script and a torch.export archive, and loading it runs them: "
    "load one only if you trust whoever made it.",
}


def readme(description: dict[str, Any]) -> str:
    """Return the folder's README.

    Class names are left to `model.json`: they may hold anything.
    """
    form, given = description["format"], description["input"]
    _, channels, *_ = given["shape"]
    gray = channels == 1
    code = LOADING[form].format(
        mode="L" if gray else "RGB",
        last="" if gray else ", 3",
        to_chw="[None, None]" if gray else "[None].transpose(0, 3, 1, 2)",
    )
    accuracy = description["accuracy"]
    count = f"n = {accuracy['test_images']:,} test images" if accuracy["test_images"] else "n is not known"
    parts = [
        f"# {description['study']}: {description['network']['model']}, normalization "
        f"{description['normalization']['name']}",
        f"In go images as they are: uint8, (N, {channels}, H, W), {given['channels']}, values 0 to 255, of any height "
        f"and width,\neach turned as its EXIF data says. Out come probabilities of {len(description['classes'])} "
        f"classes. Resize (to {given['image_size']} x {given['image_size']})\nand normalization are inside.",
    ]
    if given["shift"] != AS_IS:
        parts.append(
            f"It was trained on images whose raw values a sensor had shifted (`{given['shift']}`), and expects such "
            "images."
        )
    parts += [
        f"```python\n{code}\n```",
        f"Made with {', '.join(requirements(form))}.\n{TRUST[form]}",
        *([SERVING] if form == "mlflow" else []),
        f"Test accuracy {100 * accuracy['value']:.2f} %, {count}, {accuracy['rule']}.\n"
        f"All else is in `{MODEL_JSON}`: classes, normalization with its numbers, recipe, versions, and how the file "
        "was\nverified.",
    ]
    return "\n\n".join(parts) + "\n"
