"""One evaluation in several processes: the list is divided, the logs are put together, what is there is not run again.

A job is a `simuleval` command on a part of the list, in a hidden folder of its own. What it has logged is moved into
the folder's instances.log when it ends, or by the next run if this one was interrupted; a line that breaks off counts
as not translated.
"""

import concurrent.futures
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Container, Dict, Iterable, List, Optional, Sequence

from leap_fairseq.files import DataError
from leap_fairseq.scoring.instances import read_log
from leap_fairseq.scoring.run_folder import LOG, RunFolder, logged
from leap_fairseq.waits import completed

logger = logging.getLogger(__name__)

JOBS = ".jobs"
SENTENCES_PER_JOB = 250
"""SimulEval keeps all the audio of its list as Python floats: about 60 bytes for each sample."""


class Evaluation(RunFolder):
    """The folder of one evaluation; arguments and errors are those of :class:`RunFolder`."""

    def run(
        self,
        command: Sequence[str],
        jobs: int,
        most: int = SENTENCES_PER_JOB,
        wanted: Optional[Container[int]] = None,
        others: Iterable[Path] = (),
    ) -> int:
        """Translates what is not translated yet.

        Args:
            command: `simuleval` with all options but --source, --target and --output.
            jobs: processes at a time, at least 1.
            most: recordings that a process takes.
            wanted: numbers of the recordings that are asked for (default: all).
            others: folders of the same evaluation, whose lines are taken over.

        Returns:
            How many sentences were translated now; the others had been before.

        Raises:
            DataError: jobs < 1, another process is at it, or a job failed; what it had finished is kept.
        """
        if jobs < 1:
            raise DataError(f"number of processes is {jobs}, but must be 1 or more (--jobs)")
        wanted = range(len(self.sources)) if wanted is None else wanted
        with self.locked() as self._lock:
            self._collect()
            known = logged(others, self.facts)
            self.add({index: known[index] for index in self.missing() if index in wanted and index in known})
            return self._complete(command, jobs, most, wanted)

    def _complete(self, command: Sequence[str], jobs: int, most: int, wanted: Container[int]) -> int:
        missing = [index for index in self.missing() if index in wanted]
        if not missing:
            logger.info("%s: all sentences are there, %d of %d", self.out, len(self.done()), len(self.sources))
            return 0
        logger.info("%s: %d of %d sentences to translate", self.out, len(missing), len(self.sources))
        rounds = -(-len(missing) // (jobs * most))
        parts = [missing[start :: jobs * rounds] for start in range(jobs * rounds)]
        folders = [self._prepare(number, part) for number, part in enumerate(parts) if part]
        try:
            self._run_all(command, folders, jobs)
        finally:
            self._collect()
        if any(index in wanted for index in self.missing()):
            raise DataError(f"{self.out}: simuleval left sentences out: run the same command again")
        return len(missing)

    def _prepare(self, number: int, part: List[int]) -> Path:
        folder = self.out / JOBS / str(number)
        folder.mkdir(parents=True)
        for name, lines in (("source", self.sources), ("target", self.references)):
            (folder / name).write_text("".join(f"{lines[index]}\n" for index in part), encoding="utf-8")
        (folder / "indices.json").write_text(json.dumps(part), encoding="utf-8")
        return folder

    def _run_all(self, command: Sequence[str], folders: List[Path], jobs: int) -> None:
        running: List[subprocess.Popen] = []
        ended = threading.Event()

        def run_job(folder: Path) -> None:
            # Ctrl-C ends the jobs that are running, and their threads would begin others before we know of it.
            if ended.is_set():
                return
            lists = ("--source", folder / "source", "--target", folder / "target", "--output", folder / "out")
            with open(folder / "output.txt", "wb") as output:
                options = dict(stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, pass_fds=[self._lock])
                process = subprocess.Popen([*command, *map(str, lists)], env=_environment(jobs), **options)
                running.append(process)
                if ended.is_set():  # while it began
                    process.terminate()
                code = process.wait()
            if code:
                ended.set()
                text = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").strip()
                raise DataError(f"simuleval ended with {code}: {_reason(text)}")

        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            try:
                for future in completed([pool.submit(run_job, folder) for folder in folders]):
                    future.result()
            except BaseException:
                ended.set()
                for process in running:
                    process.terminate()
                raise

    def _collect(self) -> None:
        """Moves what the jobs have logged into the log of the whole, in the order of the list."""
        jobs = self.out / JOBS
        if not jobs.is_dir():
            return
        collected = {}
        for folder in sorted(jobs.iterdir()):
            if (folder / "out" / LOG).is_file():
                indices = json.loads((folder / "indices.json").read_text(encoding="utf-8"))
                for number, line in read_log(folder / "out" / LOG, allow_torn=True).items():
                    collected[indices[number]] = line
        self.add(collected)
        shutil.rmtree(jobs)


def simuleval_command() -> List[str]:
    """How to start SimulEval with this Python."""
    return [sys.executable, "-m", "simuleval.cli"]


def _environment(jobs: int) -> Dict[str, str]:
    """Shares the cores between the jobs, unless the user has decided."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    return {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive", **os.environ}


def _reason(text: str) -> str:
    """The line that says why: the last one, or where it was killed what it wrote at last."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"
