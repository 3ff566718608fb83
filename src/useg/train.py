"""Train: check the data, plan, and run the loop until the budget is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from useg import machine
from useg.atomic import require_output_folder
from useg.checkpoint import STATE
from useg.data.dataset import Example
from useg.data.known import seen_before
from useg.data.legend import Legend
from useg.data.prepare import Reader, prepare, reader_of
from useg.data.spacing import to_common_spacing
from useg.data.splits import Split
from useg.data.summary import Summary
from useg.errors import DataError, MissingError, OutputError, SettingsError
from useg.loop import Loop
from useg.pace import step_seconds
from useg.parts import crc32
from useg.plan import make_plan
from useg.predict import Predictor, PredictSettings
from useg.processes import Team, join
from useg.report.content import Table
from useg.report.run import report_training
from useg.settings import MachineSettings, Settings, load_settings, override, save_settings
from useg.start import begin, choose_start
from useg.track import load_trackers, tracking
from useg.unet.model import find_model, read_card
from useg.validate import within_memory
from useg.watch import TrainResult, Watcher

SETTINGS = "settings.toml"


def train(
    data: str | Path | None,
    run: str | Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
    recipe: Literal["auto", "paper"] = "auto",
    resume: bool = False,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
    start: str | Path | None = None,
    watch: Watcher | None = None,
    spent: float = 0.0,
    command: str = "",
    read: Reader | None = None,
) -> TrainResult:
    """Train a U-Net on a folder of annotated images.

    Processes that torchrun started together, each calling this, train one network as one process would; `data` are
    read by each, `run` is written by the first, and an error of one is raised in all.

    Args:
        data: a data set in any layout that `useg check --help` lists.
        run: folder for the model, its settings and its log; made if missing.
        minutes: time budget with everything included (10 if neither is given); steps: the budget in steps instead.
        recipe: "auto" plans from the data, "paper" does what the 2015 paper did.
        resume: go on with the run in `run`; its own settings hold, and `data` may be left out.
        device: "auto", "cpu", "cuda" or "mps".
        overrides: settings by dotted name, such as {"network.width": 32}; {"track": ["tensorboard"]} shows the run to
            TensorBoard, "mlflow", "wandb" or "trackio", see `useg.track`.
        start: a model file or run folder whose network is trained further. Other classes and channels are allowed, and
            what fits is taken. Where no later model is better on the held-out images, its weights stay the best.
        watch: told what happens, and asked whether to stop.
        spent: seconds that the caller used up before, on the same budget.
        command: what a user typed; with it a finished run gets its `report.html`, within the same minutes.
        read: reads the data set, such as a function that remembers what it read before; None is `read_annotated`, with
            the disk of the run for what is too large for memory.

    Raises:
        DataError, ImageError, MissingError: the data cannot be trained on; said before training begins.
        OutputError: `run` holds a run already. SettingsError: a setting cannot be.
        ModelError: `start` is no model, or is damaged.
        MissingExtraError: the library of a tracker is not installed.
        TrainingError: losses stopped being finite, or the run cannot be resumed.
    """
    started = time.monotonic() - spent
    run, watch = Path(run), watch or Watcher()
    if minutes is not None and steps is not None:
        raise SettingsError("give either minutes or steps, not both")
    team = join()
    if not team.first:
        watch = Watcher(should_stop=watch.should_stop)
    asked: dict[str, Any] = {
        "recipe": recipe,
        "budget.minutes": minutes,
        "budget.steps": steps,
        "machine.device": device,
    }
    with team.failing_as_one():
        resuming, found = team.from_first(lambda: _begin(data, run, resume, asked, overrides or {}, start))
        settings = Settings.model_validate(found)
        folder = Path(data or settings.data.folder)
        team.fit(machine.find_device(settings.machine.device))  # one that is not there is said before data are read
        read = read or reader_of(run, settings.data.max_memory)
        prepared = prepare(folder, **settings.data.how_to_read(), read=read)
        legend, parts = prepared.legend, prepared.parts
        layout = prepared.layout
        names = f"; names of classes from {layout.legend}" if layout.legend else ""
        watch.on_text(f"layout: {layout.kind}{names}")
        for problem in prepared.problems:
            watch.on_text(f"note: {problem.line}")
        watch.on_text(f"data: {_describe(prepared.check.summary, legend)}")
        if prepared.on_disk:
            watch.on_text(
                f"memory: the images and masks, {prepared.on_disk / 1e9:.3g} GB decoded, do not fit; they are kept on "
                "the disk of the run while it lasts"
            )
        watch.on_text(parts.reason)
        if settings.start.model and not settings.data.seen:
            watch.on_text(
                "note: the earlier model does not know which images it was trained on; its score is too good "
                "where held-out ones are among them"
            )
        fingerprint = _fingerprint([*parts.train, *parts.validation])
        if len(set(team.gather(fingerprint))) > 1:
            raise DataError(f"{folder}: not all processes read the same images and masks; give each machine the same")
        trained_on, told = to_common_spacing(parts.train, prepared.new)
        parts = replace(parts, train=trained_on)
        if told:
            watch.on_text(told)
        if prepared.on_disk:
            judged, told = within_memory(parts.validation)
            parts = replace(parts, validation=judged)
            if told:
                watch.on_text(told)
        if resuming:
            if settings.data.fingerprint != fingerprint:
                raise DataError(
                    f"{folder}: the images or masks have changed since {run} began; train into a new folder"
                )
        else:
            update = {"fingerprint": fingerprint, "validation_names": [e.name for e in parts.validation]}
            fair = not seen_before(parts.validation, settings.data.seen)
            begun = settings.start.model_copy(update={"fair": fair})
            known = settings.model_copy(update={"data": settings.data.model_copy(update=update), "start": begun})
            planned = team.from_first(lambda: _plan(parts, legend, known, overrides or {}, watch, team))
            settings = Settings.model_validate(planned)
        weights = None
        if settings.start.model and not team.from_first((run / STATE).is_file):
            weights, found_there = begin(settings, legend, team)
            watch.on_text(f"starts from {settings.start.model}: {found_there.words}")
        with tracking(watch, run, settings.track if team.first else [], settings) as shown:
            loop = Loop(run, settings, legend, parts, shown, started, team, reported=bool(command))
            if weights is not None:
                loop.network.load_state_dict(weights)
                loop.averaged.load_state_dict(weights)
            if not resuming and team.first:
                save_settings(run / SETTINGS, settings)  # last, so that settings which cannot run leave no run behind
            result = loop.go()
        if command and result.finished and team.first:
            how = PredictSettings(device=settings.machine.device, precision=settings.machine.precision)
            tables = [_before_and_after(result)] if settings.start.model else []
            report_training(run, Predictor.load(result.model, how), parts, command=command, tables=tables)
        return result


def _before_and_after(result: TrainResult) -> Table:
    """For the report of a run that started from an earlier model."""
    kept = "the earlier model was kept" if result.kept_start else "the new model was kept"
    rows = [("the earlier model", result.before), ("the best one trained since", result.after)]
    measure = "Dice of the foreground" if result.quality is None else "panoptic quality"
    return Table(
        "Before and after",
        f"Both on the same held-out images; {kept}.",
        ("model", measure),
        tuple((name, "-" if value is None else f"{value:.4f}") for name, value in rows),
    )


def _begin(
    data: str | Path | None,
    run: Path,
    resume: bool,
    asked: Mapping[str, Any],
    overrides: Mapping[str, Any],
    start: str | Path | None,
) -> tuple[bool, dict[str, Any]]:
    """Whether a run is resumed, and the settings to read the data with."""
    require_output_folder(run)
    if named := [name for name in overrides if name.partition(".")[0] == "start"]:
        raise SettingsError(f"--set {named[0]}: name the model to start from with --from")
    if resume and (run / SETTINGS).is_file():
        settings = load_settings(run / SETTINGS)
        budget = {name: value for name, value in asked.items() if name.startswith("budget.")}
        same = None if start is None else str(find_model(Path(start)).resolve())
        refuse_other_settings(settings, {**budget, **overrides, "start.model": same})
        load_trackers(settings.track)
        return True, settings.model_dump(mode="json")
    if data is None:
        raise MissingError(f"{run}: there is no run to resume here; name the data set to begin one")
    if (run / SETTINGS).exists() or (run / "model.safetensors").exists():
        raise OutputError(f"{run}: already holds a run; go on with --resume, or name another folder")
    begin = {**asked, "data.folder": str(Path(data).resolve())}
    if start is not None:
        begin |= choose_start(Path(start))
    if asked["budget.minutes"] is None and asked["budget.steps"] is None:
        begin["budget.minutes"] = 10.0
    settings = early_settings(override(Settings(), begin), overrides)
    load_trackers(settings.track)
    return False, settings.model_dump(mode="json")


def _plan(
    parts: Split, legend: Legend, settings: Settings, overrides: Mapping[str, Any], watch: Watcher, team: Team
) -> dict[str, Any]:
    """All settings, once the data are known."""
    found = _probe(settings.machine)

    def pace(planned: Settings) -> float:
        """Of a process with its part of the samples and of the processor."""
        samples = planned.samples.model_copy(update={"batch": max(1, math.ceil(planned.samples.batch / team.count))})
        mine = found.model_copy(update={"threads": team.split(found.threads)})
        return step_seconds(planned.model_copy(update={"samples": samples, "machine": mine}))

    start = read_card(Path(settings.start.model)) if settings.start.model else None
    plan = make_plan(parts.train, legend, settings.model_copy(update={"machine": found}), overrides, pace, start)
    for reason in plan.reasons:
        watch.on_text(reason)
    settings = plan.settings.model_copy(update={"machine": found})  # not what was asked, what was found
    return settings.model_dump(mode="json")


def refuse_other_settings(settings: Settings, asked: Mapping[str, Any]) -> None:
    """A run goes on with its own settings: asking for others is refused, and repeating its own is not."""
    for name, value in asked.items():
        if value is not None and override(settings, {name: value}) != settings:
            raise SettingsError(
                f"--resume goes on with the settings of the run, and its {name} is not {value}; leave it out, or train "
                "into a new folder"
            )


def early_settings(settings: Settings, overrides: Mapping[str, Any]) -> Settings:
    """Settings that decide how the data are read, before there is anything to plan from."""
    # The score shift needs the number of classes.
    early = {
        k: v
        for k, v in overrides.items()
        if k.startswith(("data.", "machine.")) or ("." not in k and k != "score_shift")
    }
    return override(settings, early)


def _describe(summary: Summary, legend: Legend) -> str:
    sizes = list(summary.sizes)
    others = f" and {len(sizes) - 1} other size" + "s" * (len(sizes) > 2)
    size = sizes[0] + others * (len(sizes) > 1)
    channels = " or ".join(map(str, summary.channels))
    shares = ", ".join(f"{n} {100 * s:.1f} %" for n, s in zip(legend.names, summary.class_shares, strict=True))
    return f"{summary.images} images of {size}, channels: {channels}, {' and '.join(summary.dtypes)}; classes: {shares}"


def _probe(settings: MachineSettings) -> MachineSettings:
    """Decide what "auto" means on this machine."""
    device = machine.find_device(settings.device)
    precision = machine.probe_precision(device) if settings.precision == "auto" else settings.precision
    return MachineSettings(device=device.type, precision=precision, threads=settings.threads or machine.cores())


def _fingerprint(examples: Sequence[Example]) -> str:
    """Checksum of all images and labels."""
    value = 0
    for example in examples:
        value = crc32(example.labels, crc32(example.image, value))
    return f"{value:08x}"
