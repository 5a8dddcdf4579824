"""The energy of the processors: packages alone, counters that begin again, and nothing where nothing is shown."""

import pytest

from leap_fairseq.tasks import cpu_energy
from leap_fairseq.tasks.cpu_energy import CpuEnergy

FULL = 10_000_000


class Kernel:
    """A folder as the kernel shows it: two packages, one of whose parts counts too, the platform, and a second view."""

    def __init__(self, folder):
        self.folder = folder
        zones = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1", "intel-rapl:0:0": "core"}
        for zone, name in {**zones, "intel-rapl:2": "psys", "intel-rapl-mmio:0": "package-0"}.items():
            (folder / zone).mkdir()
            (folder / zone / "name").write_text(f"{name}\n", encoding="ascii")
            (folder / zone / "max_energy_range_uj").write_text(f"{FULL}\n", encoding="ascii")
            self.show(zone, 9_000_000)

    def show(self, zone, microjoules):
        (self.folder / zone / "energy_uj").write_text(f"{microjoules}\n", encoding="ascii")


@pytest.fixture
def kernel(tmp_path):
    return Kernel(tmp_path)


def test_packages_are_added_and_counters_begin_again(kernel):
    energy = CpuEnergy(kernel.folder)
    assert energy.joules() == 0.0
    for zone in ("intel-rapl:0", "intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"):
        kernel.show(zone, 9_500_000)
    assert energy.joules() == 0.5
    kernel.show("intel-rapl:0", 250_000)
    kernel.show("intel-rapl:1", 9_000_001)
    assert energy.joules() == pytest.approx(0.5 + 0.75 + 1e-6)


def test_counters_are_read_often_enough(kernel, monkeypatch):
    energy, rarely = CpuEnergy(kernel.folder), CpuEnergy(kernel.folder)
    monkeypatch.setattr(cpu_energy, "SECONDS", 0.0)
    energy._due = 0.0
    for microjoules in (4_000_000, 9_000_000, 4_000_000):
        kernel.show("intel-rapl:0", microjoules)
        energy.tick()
    assert energy.joules() == 15.0
    # The control: the counter went round once more than can be seen.
    assert rarely.joules() == 5.0


def test_nothing_is_not_zero(kernel, tmp_path):
    assert CpuEnergy(tmp_path / "none").joules() is None
    energy = CpuEnergy(kernel.folder)
    (kernel.folder / "intel-rapl:1/energy_uj").unlink()  # for root alone
    assert energy.joules() is None and CpuEnergy(kernel.folder).joules() is None
    kernel.show("intel-rapl:1", 9_000_000)
    assert energy.joules() is None and CpuEnergy(kernel.folder).joules() == 0.0
