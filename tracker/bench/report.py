"""What was measured, as a document and as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from tracker.bench.energy import EnergyCounter
from tracker.bench.machine import copy_bandwidth, facts, peak_flops, step_flops
from tracker.bench.measure import Measured, Timing
from tracker.bench.projection import project
from tracker.bench.sides import PIECES
from tracker.bench.subject import SHAPES, make_recipe
from tracker.bench.traffic import step_traffic
from tracker.study.recipe import Precision
from tracker.training.execution import Execution
from tracker.training.precision import slowness


def heading(
    device: torch.device,
    execution: Execution,
    settings: Mapping[str, int],
    workers: int,
    precision: Precision = "fp32",
    counter: EnergyCounter | None = None,
) -> dict[str, Any]:
    """Return what measurements are worth nothing without, before there are any: a run may be cut short.

    Args:
        execution: what is asked for.
        settings: batch_size, batches, times.
        workers: of the reference's loader.
        counter: that energy is read from.
    """
    held: Precision = "fp32" if slowness(precision, device) else precision  # what is emulated is no measure
    return {
        "machine": facts(device),
        "asked": str(execution),
        "precision": precision,
        "settings": {**settings, "loader_workers": workers},
        "pieces": PIECES,
        "peak_flops": peak_flops(device, held),
        "peak_precision": held,
        "copy_bytes_per_second": copy_bandwidth(device),
        "energy": None if counter is None else counter.source,
    }


def row_of(each: Measured, head: Mapping[str, Any]) -> dict[str, Any]:
    """Return a measurement as plain values: seconds, images a second, bytes, joules, fractions.

    Args:
        head: as of `heading`.
    """
    joules = None if each.joules is None else dict(zip(("reference", "engine"), each.joules, strict=True))
    row: dict[str, Any] = {
        "model": each.model,
        "dataset": each.dataset,
        "piece": each.piece,
        "execution": each.execution,
        "images": each.engine.images,
        "reference": None if each.reference is None else _timing(each.reference),
        "engine": _timing(each.engine),
        "ratio": each.ratio,
        "share_of_peak": None,
        "share_of_copy": None,
        "peak_bytes": each.peak_bytes,
        "joules_an_image": joules,
    }
    if each.piece == "step":
        shape = SHAPES[each.dataset]
        recipe = make_recipe(each.model, each.dataset, head["settings"]["batch_size"], head["precision"])
        moved = step_traffic(recipe, shape.size, shape.classes).of(recipe.batch_size)
        flops = step_flops(recipe, shape.size, shape.classes)
        row["share_of_peak"] = flops * each.engine.rate / head["peak_flops"]
        row["share_of_copy"] = moved / each.engine.median / head["copy_bytes_per_second"]
    return row


def document(head: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], found: Sequence[Measured]) -> dict[str, Any]:
    """Return everything that was measured so far.

    Args:
        head: as of `heading`.
        rows: of what was found.
    """
    projection = project(found)
    hours = None if projection is None else {"what": projection.what, "cells": projection.cells, **asdict(projection)}
    return {**head, "measurements": list(rows), "projection": hours, "ended_early": None}


def line_of(row: Mapping[str, Any]) -> str:
    """Return a measurement as one line, for whoever waits for the table."""
    cells = _told(row, row["execution"])
    milliseconds = cells["engine, ms: median (least to most)"].replace(" (", " ms (")
    told = [f"engine {milliseconds}" + _after(", ", cells["engine, images/s"], " images/s")]
    if row["reference"] is not None:
        told.append(f"reference {cells['reference, images/s']} images/s, ratio {cells['ratio']}")
    told += [f"{cells[share]} {share}" for share in ("of peak", "of copy") if cells[share]]
    told += [f"{cells['memory, MB']} MB"] if cells["memory, MB"] else []
    if row["joules_an_image"] is not None:
        told.append(f"J/image {cells['J/image, reference']} the reference, {cells['J/image, engine']} the engine")
    return f"{row['model']} on {row['dataset']}, {row['piece']}: {'; '.join(told)}"


def _after(before: str, text: str, behind: str) -> str:
    return f"{before}{text}{behind}" if text else ""


def markdown(found: Mapping[str, Any]) -> str:
    """Return a document as Markdown: the machine, the measurements, the projection."""
    machine = ", ".join(f"{name} {value}" for name, value in found["machine"].items())
    settings = ", ".join(f"{name} {value}" for name, value in found["settings"].items())
    rows = found["measurements"]
    one = {row["execution"] for row in rows} == {found["asked"]}
    columns: list[tuple[str, str]] = [("model", "---"), ("dataset", "---"), ("piece", "---")]
    columns += [] if one else [("execution", "---")]
    columns += [(name, "--:") for name in NUMBERS]
    if found["energy"] is None:
        columns = [column for column in columns if not column[0].startswith("J/image")]
    lines = [
        machine,
        asked_for(found["asked"], one),
        f"precision {found['precision']}; {settings}",
        f"{found['peak_precision']} matrix product {found['peak_flops'] / 1e12:.3g} TFLOP/s, copy "
        f"{found['copy_bytes_per_second'] / 1e9:.3g} GB/s; energy: {found['energy'] or 'not told by this machine'}",
        "",
        "| " + " | ".join(name for name, _ in columns) + " |",
        "|" + "|".join(rule for _, rule in columns) + "|",
    ]
    for row in rows:
        told = _told(row, found["asked"])
        lines.append("| " + " | ".join(told[name] for name, _ in columns) + " |")
    lines += [
        "",
        "of peak, of copy: operations and bytes that a step of the plain network needs at least, as shares of what the "
        "machine was measured to give; the engine leaves some out.",
        "memory: of a process that trains nothing else.",
    ]
    if (projection := found["projection"]) is not None:
        hours = f"reference {projection['reference']:,.2f} h, engine {projection['engine']:,.2f} h"
        lines.append(f"{projection['what']}: {hours}")
    if found["ended_early"] is not None:
        lines.append(cut_short(found["ended_early"]))
    return "\n".join(lines)


NUMBERS = (
    "reference, images/s",
    "engine, images/s",
    "ratio",
    "engine, ms: median (least to most)",
    "of peak",
    "of copy",
    "memory, MB",
    "J/image, reference",
    "J/image, engine",
)
"""The table's columns of numbers; energy only where the machine tells it."""


def cut_short(reason: str) -> str:
    """Say that this is not all that was to be measured."""
    return f"Not all of it was measured: {reason}."


def asked_for(asked: str, one: bool) -> str:
    """Say what the engine used; where that is not `one` for all rows, what was asked for."""
    return f"engine: {asked}" if one else f"engine: asked for {asked}; each row says what of it was used"


def used(execution: str, asked: str) -> str:
    """Say what was used of what was asked for, shortly."""
    if execution in (asked, "plain"):
        return "as asked" if execution == asked else execution
    names = execution.split(", ")
    return "without " + ", ".join(name for name in asked.split(", ") if name not in names)


def _told(row: Mapping[str, Any], asked: str) -> dict[str, str]:
    """Return a row's cells by column; empty where there is nothing to tell."""
    ours, theirs, joules = row["engine"], row["reference"], row["joules_an_image"]
    milliseconds = [f"{1e3 * seconds:,.1f}" for seconds in (ours["median"], min(ours["seconds"]), max(ours["seconds"]))]
    told = {name: row[name] for name in ("model", "dataset", "piece")} | {"execution": used(row["execution"], asked)}
    told |= dict.fromkeys(NUMBERS, "")
    told["engine, ms: median (least to most)"] = "{} ({} to {})".format(*milliseconds)
    if row["images"]:
        told["engine, images/s"] = f"{ours['images_per_second']:,.0f}"
    if theirs is not None:
        told["reference, images/s"] = f"{theirs['images_per_second']:,.0f}"
        told["ratio"] = f"{row['ratio']:.2f}"
    if row["share_of_peak"] is not None:
        told["of peak"] = f"{100 * row['share_of_peak']:.0f} %"
        told["of copy"] = f"{100 * row['share_of_copy']:.0f} %"
    if row["peak_bytes"] is not None:
        told["memory, MB"] = f"{row['peak_bytes'] / 1e6:,.0f}"
    if joules is not None:
        told["J/image, reference"], told["J/image, engine"] = f"{joules['reference']:.3g}", f"{joules['engine']:.3g}"
    return told


def _timing(timing: Timing) -> dict[str, Any]:
    return {"seconds": list(timing.seconds), "median": timing.median, "images_per_second": timing.rate}
