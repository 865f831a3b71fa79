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


RETURN = """
from pathlib import Path
import torch
from fewshot_bn.host_memory import keep_freed_memory, return_freed_memory
resident_mib = lambda: int(Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]) // 1024
keep_freed_memory()
held = [torch.ones(2**22) for _ in range(32)]  # 512 MiB
last = torch.ones(2**22)
held.clear()
before = resident_mib()
return_freed_memory()
print(before - resident_mib(), last.sum().item() == 2**22)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_returned_when_it_is_asked_for():
    returned_mib, intact = subprocess.check_output([sys.executable, "-c", RETURN], text=True).split()
    assert int(returned_mib) > 400
    assert intact == "True"
