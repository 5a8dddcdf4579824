"""Energy that the processors of the machine have used, from the counters of the kernel (RAPL), where it shows them.

The counters begin again at zero when they are full, after minutes under load: they must be read more often than that.
Most kernels show them to root alone.

Source: ``Documentation/power/powercap/powercap.rst`` of Linux.
"""

import time
from pathlib import Path
from typing import Dict, Optional

POWERCAP = Path("/sys/class/powercap")

SECONDS = 30.0
"""Between two readings. A counter of 65 kJ, the smallest that is common, is full after 160 s at 400 W."""


class CpuEnergy:
    """Adds up what all packages (sockets) have used since it was made; AMD's are shown under the same names.

    Args:
        root: where the kernel shows its counters.
    """

    def __init__(self, root: Path = POWERCAP):
        # Zones within a package are parts of it, and intel-rapl-mmio counts the same once more.
        zones = [zone for zone in sorted(root.glob("intel-rapl:*")) if _text(zone / "name").startswith("package")]
        self._zones = {zone: _number(zone / "max_energy_range_uj") for zone in zones}
        self._last: Dict[Path, Optional[int]] = {zone: _number(zone / "energy_uj") for zone in zones}
        self._known = bool(zones) and None not in [*self._zones.values(), *self._last.values()]
        self._microjoules = 0
        self._due = time.monotonic() + SECONDS

    def tick(self) -> None:
        """To be called often: reads the counters where that is due."""
        if self._known and time.monotonic() >= self._due:
            self.joules()

    def joules(self) -> Optional[float]:
        """What was used so far; None where the kernel does not tell."""
        if not self._known:
            return None
        self._due = time.monotonic() + SECONDS
        for zone, full in self._zones.items():
            now, last = _number(zone / "energy_uj"), self._last[zone]
            if now is None:
                self._known = False
                return None
            self._microjoules += now - last if now >= last else now - last + full
            self._last[zone] = now
        return self._microjoules / 1e6


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _number(path: Path) -> Optional[int]:
    text = _text(path)
    return int(text) if text.isdecimal() else None
