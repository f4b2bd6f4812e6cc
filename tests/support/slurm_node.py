"""A SLURM cluster of one node, for tests: root only, with its own keys, ports and folders."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO

SYSTEM_CONF = Path(
    "/etc/slurm/slurm.conf"
)  # Snakemake's plugin strips SLURM_CONF, so the file must be where SLURM looks
MARK = "# a cluster of one node for tests"
CONF = """{mark}
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser=root
AuthInfo=socket={run}/munge.socket,cred_expire=5
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
MinJobAge=3600
JobRequeue=0
ReturnToService=2
SlurmdParameters=config_overrides
EnforcePartLimits=ALL
SlurmdTimeout=10
MessageTimeout=5
KillWait=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1
PartitionName=test Nodes=ALL Default=YES State=UP
"""


def can_run() -> bool:
    """Whether this machine has what it takes, and no SLURM of its own."""
    programs = ("slurmctld", "slurmd", "munged", "sbatch", "setpriv", "unshare")
    free = not SYSTEM_CONF.exists() or SYSTEM_CONF.read_text().startswith(MARK)
    return os.geteuid() == 0 and all(map(shutil.which, programs)) and free


class SlurmNode:
    """Starts the daemons in a ``with`` block and stops them at its end; a second waits for the first."""

    def __init__(self) -> None:
        self.host = socket.gethostname().split(".")[0]
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "SlurmNode":
        self._lock: IO[str] = Path("/tmp/purelens_slurm.lock").open("w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.folder = Path(tempfile.mkdtemp(prefix="slurm.", dir="/tmp"))  # short: sockets lie here
        try:
            self._configure()
            self._start_munge()
            self._spawn("slurmctld", "-D", "-f", f"{self.folder}/slurm.conf")
            self.start_node()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _configure(self) -> None:
        with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as two:
            ports = {"controller_port": one.getsockname()[1], "node_port": two.getsockname()[1]}
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
        facts = {"mark": MARK, "host": self.host, "run": self.folder, "memory": memory, **ports}
        (self.folder / "state").mkdir()
        self.folder.chmod(0o755)
        conf = self.folder / "slurm.conf"
        conf.write_text(CONF.format(cpus=max(8, os.cpu_count() or 1), **facts))
        (self.folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        SYSTEM_CONF.parent.mkdir(exist_ok=True)
        SYSTEM_CONF.unlink(missing_ok=True)
        SYSTEM_CONF.symlink_to(conf)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        files = [f"--{kind}-file={self.folder}/munge.{kind}" for kind in ("key", "pid", "seed", "log")]
        self._spawn("munged", "-F", f"--socket={self.folder}/munge.socket", *files)
        self._wait("munged", (self.folder / "munge.socket").exists)

    def _spawn(self, name: str, *options: str, within: tuple[str, ...] = ()) -> None:
        command = ["setpriv", "--pdeathsig", "KILL", *within, name, *options]  # ends with the tests, however they end
        with (self.folder / f"{name}.out").open("ab") as log:
            self._daemons[name] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _wait(self, name: str, ready: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not ready():
            if self._daemons[name].poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{name} is not ready: " + (self.folder / f"{name}.out").read_text()[-2000:])
            time.sleep(0.1)

    def _takes_jobs(self) -> bool:
        states = subprocess.run(["sinfo", "-ho%T"], capture_output=True, text=True, check=False).stdout.strip()
        return states in ("idle", "mixed", "allocated")

    def start_node(self) -> None:
        """Bring the node up, again, and wait until it takes jobs."""
        # in a process namespace of its own: its jobs go when it is killed
        within = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
        self._spawn("slurmd", "-D", "-f", f"{self.folder}/slurm.conf", "-N", self.host, within=within)
        self._wait("slurmd", self._takes_jobs)

    def kill_node(self, announce: bool = True) -> None:
        """As if the node had lost its power; announced, SLURM knows it at once."""
        daemon = self._daemons.pop("slurmd", None)
        if daemon is None:
            return
        for child in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGKILL)
        daemon.wait()
        if announce:
            command = ["scontrol", "update", f"NodeName={self.host}", "State=DOWN", "Reason=test"]
            subprocess.run(command, check=True)

    def jobs(self) -> list[tuple[str, str]]:
        """State and comment (the rule) of all jobs that SLURM knows."""
        command = ["squeue", "-ho%T|%k", "--states=all"]
        lines = subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()
        return [(state, comment) for state, _, comment in (line.partition("|") for line in lines)]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_node(announce=False)
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()
        if SYSTEM_CONF.is_symlink() and SYSTEM_CONF.readlink() == self.folder / "slurm.conf":
            SYSTEM_CONF.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()
