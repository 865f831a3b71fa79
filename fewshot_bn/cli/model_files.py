"""The verbs of models.py about files of weights: guess, check, convert, export. Each returns its exit status."""

import shlex
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fewshot_bn.backbones.cards.card import ModelCard, read_model_card, shipped_models
from fewshot_bn.backbones.cards.text import in_lines, text_of
from fewshot_bn.backbones.cards.weights import checksum_of
from fewshot_bn.backbones.checkpoints.reading import read_checkpoint
from fewshot_bn.backbones.checkpoints.writing import write_whole
from fewshot_bn.backbones.conversion import Converted, converted, write
from fewshot_bn.backbones.export import export as write_export
from fewshot_bn.backbones.load import load_backbone, member_names
from fewshot_bn.backbones.recognition.contents import described, entries, others
from fewshot_bn.backbones.recognition.guess import Candidate, Guess, draft, heads
from fewshot_bn.backbones.recognition.guess import guess as guess_network
from fewshot_bn.backbones.recognition.known import better_cards, pinned_by
from fewshot_bn.cli.model_cards import card_path
from fewshot_bn.errors import ModelError, UsageError, some
from fewshot_bn.files.atomic import plain_name, sha256_of

WRONG = 1
ENDINGS = (".tar", ".pth", ".pt", ".th", ".pkl", ".pickle", ".ckpt", ".bin", ".safetensors", ".npz", ".original")
DRAFT = """\
A draft, made by python -m fewshot_bn.models guess. To fill in: the title, and licence, source and citation if others
are to use it. Then compare [preprocessing] with the code that the network was trained with, see below."""
ASSUMED = """\
A file of weights does not say which images it was trained on, and wrong ones cost accuracy in silence. Set sizes, mean
and std (and channels = "BGR", norm_eps or padding = "same" if the network was not trained with PyTorch's), then take
this line off. Until then every run repeats it."""
NOTHING = """\
no known card and no network fits it; its own code may say which network it is: write a card for it (docs/cards.md), or
a function that builds it (docs/backbones.md: --model nets.py:make --weights FILE)"""


def guess(arguments: Namespace) -> int:
    file: Path = arguments.file
    if arguments.output:
        if arguments.output.suffix != ".toml":
            raise UsageError(f"--output {arguments.output}: a card's name ends in .toml")
        _refuse_to_overwrite(arguments.output)
    content = read_checkpoint(file)
    for line in _contents(file, content):
        print(line)
    pinned = pinned_by(file)
    found = guess_network(content, pinned, file.name)
    for line in _findings(found, pinned, file):
        print(line)
    if not (found.cards or found.candidates):
        return WRONG
    if not pinned or arguments.output or arguments.only_print:
        return _draft(found, content, arguments)
    return 0


def _contents(file: Path, content: Mapping[str, Any]) -> Iterator[str]:
    yield f"{file}: {file.stat().st_size / 1e6:,.1f} MB"
    yield from (f"  {line}" for entry in entries(content) for line in described(entry))
    if beside := others(content):
        yield f"  without tensors: {some(beside, 6)}"


def _findings(found: Guess, pinned: list[str], file: Path) -> Iterator[str]:
    if pinned:
        yield f"it is the file of the known card{'s' * (len(pinned) > 1)} {some(pinned)}, by its checksum"
    if found.cards:
        names = [fit.card.name + (f" (form {fit.form})" if fit.form else "") for fit in found.cards]
        yield f"it fits the known card{'s' * (len(names) > 1)} {some(names, 20)}"
        if len(names) > 1:
            yield "  the file does not say which of them it is; show NAME tells what they take for granted"
        yield f"use it as such: python -m fewshot_bn.eval --model {found.cards[0].card.name} --weights {_quoted(file)}"
    for n, candidate in enumerate(found.candidates):
        yield from _on_candidate(candidate, is_taken=n == 0)
    if found.nearest:
        near = ", ".join(f"{network} ({100 * near.share:.0f} %)" for network, near in found.nearest)
        yield f"nearest, by the share of their tensors that are there: {near}"
        network, first = found.nearest[0]
        yield f"  it is not {network}: {some(first.differs)}"
    if not (found.cards or found.candidates):
        yield NOTHING


def _on_candidate(candidate: Candidate, *, is_taken: bool) -> Iterator[str]:
    first, *more = candidate.fits
    if first.rules.in_order:
        yield f"only by the order and the shapes of its tensors, not by names, it fits {candidate.label}"
        yield "  whether each tensor is what it is taken for, only the accuracy tells"
    else:
        yield f"{'it fits' if is_taken else 'it also fits'} {candidate.label}, every weight by name and shape"
    for fit in more:
        yield f"  so does another part of it; to take that instead, write [keys] {', '.join(in_lines(fit.rules))}"


def _draft(found: Guess, content: Mapping[str, Any], arguments: Namespace) -> int:
    file: Path = arguments.file
    output: Path = arguments.output or Path(f"{_stem(file)}.toml")
    name = plain_name(_stem(arguments.output or file))
    name = f"{name}-draft" if name in shipped_models() else name
    is_below = file.resolve().is_relative_to(output.resolve().parent)
    weights = file.resolve().relative_to(output.resolve().parent) if is_below else file.resolve()
    card = draft(found, name=name, weights=weights.as_posix(), sha256=sha256_of(file))
    try:
        read = converted(content, card, str(file))
    except ModelError as problem:
        print(f"wrong: {problem}")
        return WRONG
    for line in (*_left_out(read), *heads(content, card, read.left_out)):
        print(line)
    text = text_of(card, {"name": DRAFT, "assumed": ASSUMED})
    if arguments.only_print:
        print(f"\n{text}", end="")
        return 0
    _refuse_to_overwrite(output)
    write_whole(output, lambda path: path.write_bytes(text.encode()))
    print(f"draft of a card: {output}; see what it assumes about images, then")
    print(f"use it: python -m fewshot_bn.eval --model {_quoted(output)}")
    return 0


def check(arguments: Namespace) -> int:
    file, card = arguments.file, read_model_card(card_path(arguments.model))
    content = read_checkpoint(file)
    wrong, said = [], []
    checksum = checksum_of(card, file)
    if not checksum.needed:
        said.append(f"note: the card has no checksum to compare; {checksum.algorithm} {checksum.found}")
    elif checksum.agrees:
        said.append(f"the {checksum.algorithm} is the one of the card ({len(checksum.needed)} digits)")
    else:
        wrong.append(f"{file} {checksum}")
    try:
        read = converted(content, card, str(file))
        form = f" in the form {read.form}" if read.form else ""
        said += [f"{len(read.tensors):,} tensors fit {card.network}{form}", *_left_out(read)]
    except ModelError as problem:
        wrong.append(f"{problem}{better_cards(content, file)}")
    for line in [] if arguments.quiet else said:
        print(line)
    for line in wrong:
        print(f"wrong: {line}")
    things = "1 thing is" if len(wrong) == 1 else f"{len(wrong)} things are"
    print(f"{things} wrong" if wrong else "nothing is wrong")
    return WRONG if wrong else 0


def convert(arguments: Namespace) -> int:
    file, card = arguments.file, read_model_card(card_path(arguments.model))
    output: Path = arguments.output or Path(f"{_stem(file)}.safetensors")
    if output.suffix != ".safetensors":
        raise UsageError(f"--output {output}: a name that ends in .safetensors is needed")
    for path in (output, output.with_suffix(".toml")):
        _refuse_to_overwrite(path)
    content = read_checkpoint(file)
    try:
        found = converted(content, card, str(file))
    except ModelError as problem:
        raise ModelError(f"{problem}{better_cards(content, file)}") from problem
    checksum = checksum_of(card, file)
    if checksum.needed and not checksum.agrees:
        print(f"note: {file} {checksum}: these are other weights than the card's")
    beside = write(found, card, file, output)
    for line in _changes(found, card):
        print(line)
    print(f"written: {output} and its card {beside}")
    print(f"use it: python -m fewshot_bn.eval --model {_quoted(beside)}")
    return 0


def export(arguments: Namespace) -> int:
    if len(member_names(arguments.model)) > 1:
        raise UsageError(f"{arguments.model}: one network at a time; export each of these by itself")
    backbone = load_backbone(arguments.model, weights=arguments.weights, root=arguments.model_root)
    for notice in backbone.notices:
        print(f"note: {notice}", file=sys.stderr)
    ending = "pkl" if arguments.format == "detectron2" else "pth"
    output = arguments.output or Path(f"{plain_name(backbone.name)}_{plain_name(arguments.format)}.{ending}")
    is_card = arguments.model in shipped_models() or arguments.model.endswith(".toml")
    name = read_model_card(card_path(arguments.model)).network if is_card else backbone.name
    for line in write_export(backbone.module, name, arguments.format, output, preprocessing=backbone.preprocessing):
        print(line)
    return 0


def _changes(found: Converted, card: ModelCard) -> Iterator[str]:
    form = f", by its form {found.form}" if found.form else ""
    yield f"{len(found.tensors):,} tensors of {card.network}{form}"
    if found.renamed:
        pairs = [f"{old} → {new}" for old, new in found.renamed.items()]
        yield f"renamed: {len(pairs):,} ({some(pairs)})"
    if found.rules.kernels == "HWIO":
        yield "turned: convolutions and linear layers, whose first axes were height, width and inputs"
    yield from _left_out(found)
    if found.lacking:
        yield f"missing, as the card allows: {len(found.lacking):,} ({some(found.lacking)})"


def _left_out(read: Converted) -> Iterator[str]:
    if read.left_out:
        yield f"left out: {len(read.left_out):,} ({some(read.left_out)})"


def _refuse_to_overwrite(path: Path) -> None:
    if path.exists():
        raise UsageError(f"{path}: is there already, and nothing is overwritten; choose another name with --output")


def _stem(file: Path) -> str:
    """Its name without what tells the kind of file: `x` of `x.pth.tar`."""
    name = file.name.removesuffix(".toml")
    while (end := Path(name).suffix.lower()) in ENDINGS:
        name = name[: -len(end)]
    return name


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
