import subprocess
import sys

import pytest

CODE = """
import resource, sys
from fewshot_bn.host_memory import keep_freed_memory
import torch
if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)  # 64 MiB, freed at once
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_taken_again_without_asking_the_kernel():
    by_default, kept = (
        int(subprocess.check_output([sys.executable, "-c", CODE, how], text=True)) for how in ("default", "keep")
    )
    assert kept < 100
    assert by_default == 0 or kept < by_default
