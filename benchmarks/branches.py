"""Trials that differ in their normalization alone, as branches of one step: a batch is gathered, cropped and flipped
once for all of them, and on CUDA each branch has a stream of its own, in one graph.

Their plan is drawn from seed and epoch, so it is the same one. Batches are all of one size here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from functools import partial

import torch
from torch import Tensor

from tracker.study.recipe import Recipe
from tracker.training.evaluate import Evaluation
from tracker.training.execution import Execution, prepare
from tracker.training.graphs import Recorder, Work, recorder_of
from tracker.training.input import build_input
from tracker.training.recorded import REHEARSALS, RecordedStepper
from tracker.training.splits import DeviceSplit, trial_data
from tracker.training.stepper import PlainStepper, Stepper
from tracker.training.tally import Sums, Tally
from tracker.training.trial import build_classifier, build_optimizer, learning_rate, set_learning_rate
from tracker.vision.augmentation import EpochPlan, draw_plan, gather_batch
from tracker.vision.images import ImageSet
from tracker.vision.kernels.pipeline import InputPipeline
from tracker.vision.stand_ins import stand_in


class Branches:
    """Several trials that are trained as one.

    Args:
        recipes: that differ in nothing but what the images are normalized with.
        images: whose training split is a number of whole batches.
        recorder: of the step; by default what the execution asks for on this device.
        say: told why the judging is not recorded.
    """

    def __init__(
        self,
        recipes: Sequence[Recipe],
        images: ImageSet,
        device: torch.device,
        execution: Execution,
        *,
        recorder: Recorder | None = None,
        rehearsals: int = REHEARSALS,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._recipe = recipes[0]
        self._data = trial_data(self._recipe, images, device)
        self._recorder = recorder_of(execution, device) if recorder is None else recorder
        self._left = rehearsals
        self._batch: EpochPlan | None = None
        self._replay: Work | None = None
        self._judges: list[Stepper] = []
        self.members: list[PlainStepper] = []
        for recipe in recipes:
            classifier = build_classifier(recipe, images, stand_in(recipe, images))
            prepare(classifier, device, execution, recipe.precision)
            optimizer = build_optimizer(recipe, classifier, execution)
            own = build_input(classifier, recipe.crop_padding, self._data.train.images, execution)
            member = PlainStepper(classifier, optimizer, _of_ready_images(own), 1, Tally(device))
            self.members.append(member)
            judge: Stepper = member
            if self._recorder is not None:
                judge = RecordedStepper(member, self._recorder, self._data, say, rehearsals)
            self._judges.append(judge)
        cuda = device.type == "cuda"
        self._streams = [torch.cuda.Stream(device) for _ in recipes] if cuda else []  # type: ignore[no-untyped-call]

    def epochs(self) -> Iterator[list[Evaluation]]:
        """Train, an epoch at a time, and yield what each member then makes of the test images."""
        recipe, split = self._recipe, self._data.train
        for epoch in range(recipe.epochs):
            plan = draw_plan(
                *(len(split),), seed=recipe.seed, epoch=epoch, crop_padding=recipe.crop_padding, flip=recipe.flip
            )
            for member in self.members:
                set_learning_rate(member.optimizer, learning_rate(recipe, epoch))
                member.tally.start(Sums(0.0, 0, 0))
                member.classifier.train_mode(recipe.tune)
            with closing(split.drawn(plan, recipe.batch_size, 0)) as batches:
                for _, batch in batches:
                    self._train(batch)
            for member in self.members:
                member.tally.read()
            yield [judge.evaluate(self._data.test) for judge in self._judges]

    def _train(self, batch: EpochPlan) -> None:
        """Take one step of each member."""
        if self._recorder is None:
            self.step(batch)
            return
        if self._batch is None:
            self._batch = batch.clone()
        self._batch.copy_(batch)
        work = partial(self.step, self._batch)
        if self._left:
            self._left -= 1
            self._recorder.rehearse(work)
        else:
            if self._replay is None:
                for member in self.members:
                    member.optimizer.zero_grad(set_to_none=True)
                self._replay = self._recorder.record(work)
            self._replay()

    def step(self, batch: EpochPlan) -> None:
        """Gather a batch, once, and branch."""
        split = self._data.train
        ready = DeviceSplit(gather_batch(split.images, batch, self._recipe.crop_padding), split.labels)
        if not self._streams:
            for member in self.members:
                member.train(ready, batch)
            return
        trunk = torch.cuda.current_stream(split.labels.device)
        for member, stream in zip(self.members, self._streams, strict=True):
            stream.wait_stream(trunk)
            with torch.cuda.stream(stream):
                member.train(ready, batch)
        for stream in self._streams:
            trunk.wait_stream(stream)


def _of_ready_images(own: InputPipeline) -> InputPipeline:
    """Return a pipeline that only normalizes: whoever calls it has done what the plan says."""

    def feed(images: Tensor, _: EpochPlan | None) -> Tensor:
        return own(images)

    return InputPipeline(own.name, own.reason, feed)
