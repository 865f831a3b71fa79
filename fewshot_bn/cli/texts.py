"""python -m fewshot_bn.cli.texts: write anew, in a clone, the texts that are made from adapters and cards.

Those are the help text and, between lines `<!-- name -->` and `<!-- /name -->`, parts of the documentation.
"""

import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path

from fewshot_bn.backbones.cards import catalogue as checkpoints
from fewshot_bn.backbones.networks import NETWORKS
from fewshot_bn.cli.options import run_verb
from fewshot_bn.datasets import catalogue
from fewshot_bn.errors import UsageError
from fewshot_bn.files.atomic import replace_file
from fewshot_bn.reports import modes


def texts(root: Path) -> dict[Path, str]:
    """Each file of the clone at `root` that holds such texts, as it should be. Raises `UsageError` and `OSError`."""
    guide = {
        "probes": modes.mode_table(modes.PROBES),
        "settings of probes": modes.probe_settings_table(),
        "norm tuning": modes.mode_table(modes.TUNERS),
        "settings of norm tuning": modes.tuning_settings_table(),
        "many-shot modes": modes.many_shot_mode_table(),
        "many-shot": modes.many_shot_table(),
    }
    return {
        root / "fewshot_bn" / "cli" / "modes.txt": modes.help_text(),
        root / "docs" / "modes.md": _filled(root / "docs" / "modes.md", guide),
        root / "docs" / "metrics.md": _filled(root / "docs" / "metrics.md", {"metrics": modes.metric_table()}),
        root / "docs" / "checkpoints.md": _filled(
            root / "docs" / "checkpoints.md", {"checkpoints": checkpoints.markdown()}
        ),
        root / "docs" / "cards.md": _filled(root / "docs" / "cards.md", {"networks": _listed(NETWORKS)}),
        root / "docs" / "data.md": _filled(root / "docs" / "data.md", {"datasets": catalogue.markdown()}),
        root / "README.md": _filled(root / "README.md", {"modes": modes.mode_list()}),
    }


def _listed(names: Iterable[str]) -> str:
    return textwrap.fill(", ".join(f"`{name}`" for name in sorted(names)), 120)


def _filled(path: Path, parts: Mapping[str, str]) -> str:
    text = path.read_text(encoding="utf-8")
    for name, part in parts.items():
        first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
        before, found, rest = text.partition(first)
        _, closed, after = rest.partition(last)
        if not (found and closed):
            raise UsageError(f"{path.name}: no lines {first.strip()} and {last.strip()}, between which a table belongs")
        text = f"{before}{first}{part}\n{last}{after}"
    return text


def main() -> int:
    return run_verb(_write)


def _write() -> int:
    for path, text in texts(Path(__file__).parents[2]).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            replace_file(path, text.encode())
            print(f"written: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
