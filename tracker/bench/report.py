"""What was measured, as a document and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from tracker.bench.machine import copy_bandwidth, facts, peak_flops, step_flops
from tracker.bench.measure import Measured, Timing, projected_hours
from tracker.bench.sides import PIECES
from tracker.bench.subject import SHAPES, make_recipe
from tracker.training.execution import Execution


def document(
    found: Sequence[Measured], device: torch.device, execution: Execution, settings: Mapping[str, int], workers: int
) -> dict[str, Any]:
    """Return everything as plain values: seconds, images a second, bytes, fractions.

    Args:
        settings: batch_size, batches, times.
        workers: of the reference's loader.
    """
    peak = peak_flops(device)
    flops: dict[tuple[str, str], float] = {}
    rows = []
    for each in found:
        shape = SHAPES[each.dataset]
        key = (each.model, each.dataset)
        if each.piece == "step" and key not in flops:
            recipe = make_recipe(each.model, each.dataset, settings["batch_size"], 1)
            flops[key] = step_flops(recipe, shape.size, shape.classes)
        rows.append(
            {
                "model": each.model,
                "dataset": each.dataset,
                "piece": each.piece,
                "images": each.engine.images,
                "reference": _timing(each.reference),
                "engine": _timing(each.engine),
                "ratio": each.ratio,
                "share_of_peak": flops[key] * each.engine.rate / peak if each.piece == "step" else None,
                "peak_bytes": each.peak_bytes,
            }
        )
    cells = sorted({(each.model, each.dataset) for each in found})
    return {
        "machine": facts(device),
        "execution": str(execution),
        "settings": {**settings, "loader_workers": workers},
        "pieces": PIECES,
        "peak_flops_fp32": peak,
        "copy_bytes_per_second": copy_bandwidth(device),
        "measurements": rows,
        "projection": {
            "what": f"hours of 100 epochs, 4 normalizations, one seed, of {len(cells)} of the 16 pairs of model and "
            "dataset of the reference study, one trial at a time",
            **projected_hours(found),
        },
    }


def markdown(found: Mapping[str, Any]) -> str:
    """Return a document as Markdown: the machine, the measurements, the projection."""
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    settings = ", ".join(f"{name} {value}" for name, value in found["settings"].items())
    lines = [
        machine,
        f"engine: {found['execution']}; {settings}",
        f"fp32 matrix product {found['peak_flops_fp32'] / 1e12:.3g} TFLOP/s, copy "
        f"{found['copy_bytes_per_second'] / 1e9:.3g} GB/s",
        "",
        "| model | dataset | piece | reference, images/s | engine, images/s | ratio | "
        "engine, ms: median (least to most) | of peak |",
        "|---|---|---|--:|--:|--:|--:|--:|",
    ]
    for row in found["measurements"]:
        ours = row["engine"]
        share = "" if row["share_of_peak"] is None else f"{100 * row['share_of_peak']:.0f} %"
        lines.append(
            f"| {row['model']} | {row['dataset']} | {row['piece']} | {row['reference']['images_per_second']:,.0f} | "
            f"{ours['images_per_second']:,.0f} | {row['ratio']:.2f} | {1e3 * ours['median']:,.1f} "
            f"({1e3 * min(ours['seconds']):,.1f} to {1e3 * max(ours['seconds']):,.1f}) | {share} |"
        )
    projection = found["projection"]
    lines += [
        "",
        "A share of the peak counts the operations of the plain network; the engine leaves some of them out.",
        f"{projection['what']}: reference {projection['reference']:,.2f} h, engine {projection['engine']:,.2f} h",
    ]
    return "\n".join(lines)


def _timing(timing: Timing) -> dict[str, Any]:
    return {"seconds": list(timing.seconds), "median": timing.median, "images_per_second": timing.rate}
