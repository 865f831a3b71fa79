"""A network that is tuned to many images, and then classifies others: the training of the tuners, fed from the store.

It is what the tuner does with an episode whose support set are all training images, in memory that does not grow with
their number. Only policies that see a batch at a time can do so.

Shapes: rows [n]; features [n d], scores [n way].
"""

import functools
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from fewshot_bn.adapters.tuning.batches import Batch
from fewshot_bn.adapters.tuning.course import Course
from fewshot_bn.adapters.tuning.first_step import with_rate_of_features
from fewshot_bn.adapters.tuning.heads import seen, start_head
from fewshot_bn.adapters.tuning.network import EpisodicNetwork
from fewshot_bn.adapters.tuning.tuner import Tuning
from fewshot_bn.adapters.tuning.two_stage import Chosen
from fewshot_bn.adapters.tuning.views import RANDOM_VIEWS, fixed_view, fixed_views, parse_views
from fewshot_bn.evaluation.many_shot.checkpoint import Checkpoint
from fewshot_bn.evaluation.many_shot.feed import FeatureFeed, Feed, Pictures, in_parts
from fewshot_bn.events import Note, Progress
from fewshot_bn.inputs.features import images_together
from fewshot_bn.inputs.source import Source
from fewshot_bn.runtime import exact_convolutions


class Learner:
    """`chosen` of a network, tuned to the images of `rows`, of which `images_at_once` are in memory with gradients.

    `n_way` is the number of classes.
    """

    def __init__(  # noqa: PLR0917
        self,
        tuner: Tuning,
        chosen: Chosen,
        pictures: Pictures,
        rows: Int64[ndarray, "n"],
        n_way: int,
        seed: int,
        images_at_once: int,
    ) -> None:
        self.tuner, self._chosen, self._pictures, self._rows = tuner, chosen, pictures, rows
        backbone, y = chosen.backbone, pictures.labels(rows)
        like = next(backbone.module.parameters())
        self._together = images_together(backbone.preprocessing.crop_px, like.device)
        self.network = self._pretrained()
        with torch.no_grad():
            z_s = functools.cache(lambda: seen(self._features(self.network, rows, "none")[None], tuner.scaling))
            self._head = start_head(tuner, (n_way, backbone.dim), z_s, y, seeds=[seed], like=like.new_zeros(1))
        if tuner.statistics == "converted":
            self.network.convert(self.network.stem(x) for x in self._parts(rows))
        self._trained = tuner.trained(self.network, [seed])
        training = tuner.training(self.network, self._trained, self._head, images_at_once)
        views = parse_views(tuner.augment, RANDOM_VIEWS)
        self._feed: Feed | FeatureFeed
        if self._trained.values or views:
            self._feed = Feed(pictures, rows, y, self.network, seed, tuner.batch_size, views, backbone.preprocessing)
        else:  # the network stays as it is, and so do the features
            self._feed = FeatureFeed(z_s(), y, seed, tuner.batch_size)
            training = replace(training, features=lambda stem: stem[0])
        if tuner.rates_of_features:
            with torch.enable_grad(), exact_convolutions():
                training = with_rate_of_features(training, self._feed, tuner.small)
        self._course = Course(training, 1, self.n_steps)

    def _pretrained(self) -> EpisodicNetwork:
        network = self.tuner.network(self._chosen.backbone, self._chosen.names, 1)
        network.try_cut(next(self._parts(self._rows[:1])))
        return network

    @property
    def n_steps(self) -> int:
        return self.tuner.n_steps(len(self._rows))

    @property
    def facts(self) -> dict[str, Any]:
        """Steps taken, values trained, and the mean loss of the last whole pass over the training images."""
        values = [*self._trained.values, *self._head.values]
        loss = self._course.pass_loss
        return {
            "steps": int(self._course.steps),
            "trained_values": sum(value.numel() for value in values),
            "loss": None if loss is None else float(loss),
        }

    def train(self, checkpoint: Checkpoint, part: str) -> Iterator[Progress | Note]:
        """Take the steps that are left; once the loss of a pass over the images is no number, no more."""
        if (state := checkpoint.state(part)) is not None:
            self._restore(state)
        title, done, n_steps = f"training {part}".strip(), int(self._course.steps), self.n_steps
        batches = itertools.islice(self._feed.batches(done), n_steps - done)
        goes_on = self._goes_on
        yield Progress(title, "step", done, n_steps)
        while goes_on and (batch := self._next(batches)) is not None:
            goes_on = self._step(batch)
            done += 1
            yield Progress(title, "step", done, n_steps)
            if checkpoint.is_due or not goes_on or done == n_steps:
                yield from checkpoint.keep(part, self._state())
        with torch.no_grad():
            self._trained.apply()

    @staticmethod
    def _next(batches: Iterator[Batch]) -> Batch | None:
        with exact_convolutions():
            return next(batches, None)

    def _step(self, batch: Batch) -> bool:
        """Take a step; whether the training goes on, which is found out at the end of a pass."""
        with torch.enable_grad(), exact_convolutions():
            self._course.step(batch)
        return not batch.ends_pass or self._goes_on

    @property
    def _goes_on(self) -> bool:
        loss = self._course.pass_loss
        return self._course.goes_on and (loss is None or bool(loss.isfinite().all()))

    def _state(self) -> dict[str, Any]:
        counts = [layer.n_batches for layer in self.network.batch_norms]
        return {"course": self._course.state(), "counts": counts}

    def _restore(self, state: Mapping[str, Any]) -> None:
        self._course.restore(state["course"])
        for layer, count in zip(self.network.batch_norms, state["counts"], strict=True):
            layer.n_batches = count

    def features(self, rows: Int64[ndarray, "n"], source: Source | None = None) -> Iterator[Float[Tensor, "n d"]]:
        """Those of the tuned network, and of the pretrained one where it takes part, in every fixed view.

        `rows` are of the source that the network was tuned to, or of another.
        """
        networks = [self.network, *([self._pretrained()] if self.tuner.average_frozen else [])]
        for network, view in itertools.product(networks, fixed_views(self.tuner.test_augment)):
            yield self._features(network, rows, view, source)

    def head_scores(self, rows: Int64[ndarray, "n"], source: Source | None = None) -> Iterator[Float[Tensor, "n way"]]:
        """Those of the trained head in every fixed view of images as in `features`."""
        for z in self.features(rows, source):
            z_seen = seen(z[None], self.tuner.scaling)
            with torch.no_grad():
                yield self._head.fitted(lambda: z_seen, self._feed.y)(z_seen)[0]  # noqa: B023 - called at once

    @torch.no_grad()
    def _features(
        self, network: EpisodicNetwork, rows: Int64[ndarray, "n"], view: str, source: Source | None = None
    ) -> Float[Tensor, "n d"]:
        with exact_convolutions():
            parts = (network.features(network.stem(fixed_view(x, view))) for x in self._parts(rows, source))
            return torch.cat([z[0] for z in parts])

    def _parts(self, rows: Int64[ndarray, "n"], source: Source | None = None) -> Iterator[Float[Tensor, "1 b 3 h w"]]:
        pictures = self._pictures if source is None else replace(self._pictures, source=source)
        return pictures.parts(in_parts(rows, self._together))
