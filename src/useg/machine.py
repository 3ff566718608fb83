"""What this machine is and what pays on it: device, precision, threads, memory."""

from __future__ import annotations

import os
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from useg.errors import SettingsError

if TYPE_CHECKING:
    import torch

Placed = TypeVar("Placed", bound="torch.nn.Module")
Precision = Literal["float32", "bfloat16"]


def cpu_name() -> str:
    """The processor in words, as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cores() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def launched_together() -> bool:
    """Whether a launcher such as torchrun started this process together with others, as it tells in the environment."""
    return "LOCAL_RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def speaks() -> bool:
    """Whether people should see what this process says: of those launched together only the first one's."""
    return not launched_together() or os.environ.get("RANK", "0") == "0"


def free_memory() -> int:
    """Bytes of memory that can be taken without swapping."""
    import psutil

    return int(psutil.virtual_memory().available)


def network_memory(device: str) -> int:
    """Bytes that a network may take in the memory of a GPU; no limit where it shares the memory of this machine.

    What torch has freed there and keeps for itself counts as free; a fifth is left to others and to gaps.
    """
    if device in ("cpu", "mps"):
        return sys.maxsize
    import torch

    if find_device(device).type != "cuda":
        return sys.maxsize
    kept = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    return 4 * (torch.cuda.mem_get_info()[0] + kept) // 5


def keep_freed_memory() -> None:
    """Let the C library keep what torch frees, where it is glibc; elsewhere do nothing.

    glibc gives blocks of 32 MB or more back to the system at once, and takes them anew, page by page and wiped, for
    the next layer: measured, half of the time of a prediction. The process stays as large as it was at its peak.
    """
    import ctypes

    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        trim_threshold, mmap_threshold = -1, -3  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        most = (1 << 31) - 1
        libc.mallopt(mmap_threshold, most)
        libc.mallopt(trim_threshold, most)


def return_freed_memory() -> None:
    """Give back to the system what `keep_freed_memory` kept, where the C library is glibc."""
    import ctypes

    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def taken_memory() -> int:
    """Bytes of memory that this process holds."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def peak_memory() -> int:
    """Most bytes of memory that this process has held so far."""
    import psutil

    try:
        import resource
    except ImportError:  # Windows
        return int(psutil.Process().memory_info().peak_wset)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if platform.system() == "Darwin" else 1024 * most


def find_device(name: str) -> torch.device:
    """The torch device for "auto", "cpu", "cuda" or "mps".

    Raises:
        SettingsError: the device is not one of these, or is not there.
    """
    import torch

    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next(kind for kind in ("cuda", "mps", "cpu") if there[kind]))
    if name not in there:
        raise SettingsError(f"device {name!r} is not known; use auto, cpu, cuda or mps")
    if not there[name]:
        raise SettingsError(f"device {name!r}: torch finds none on this machine; use --device auto")
    return torch.device(name)


def memory_layout(dims: int) -> torch.memory_format:
    """Channels-last, for images or volumes: the faster layout on a CPU."""
    import torch

    return torch.channels_last if dims == 2 else torch.channels_last_3d


def place(module: Placed, device: torch.device, dims: int) -> Placed:
    """Move a module to the device, in the faster layout."""
    placed: Placed = module.to(device, memory_format=memory_layout(dims))  # type: ignore[call-overload]
    return placed


def computes_bfloat16(device: str) -> bool:
    """Whether torch has instructions for it. A CPU without them would emulate it, some 20 times slower."""
    import torch

    return device == "cuda" or (device == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def probe_precision(device: torch.device) -> Precision:
    """bfloat16 where this machine computes convolutions clearly faster in it, else float32.

    Takes a fraction of a second.
    """
    import torch

    if not computes_bfloat16(device.type):
        return "float32"
    layers = [torch.nn.Conv2d(32, 32, 3, padding=1), torch.nn.BatchNorm2d(32), torch.nn.ReLU()]
    block = place(torch.nn.Sequential(*layers), device, dims=2)
    image = torch.zeros(2, 32, 192, 192, device=device).to(memory_format=torch.channels_last)

    def seconds(enabled: bool) -> float:
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=enabled):
            block(image).sum().backward()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    # In turn, on one thread, the best of each: whatever else runs on this computer disturbs single runs, and most of
    # all those whose threads wait for one another.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    lower, full = zip(*[(seconds(True), seconds(False)) for _ in range(8)], strict=True)
    torch.set_num_threads(threads)
    return "bfloat16" if min(lower) < 0.9 * min(full) else "float32"
