"""The peers, from the package registry into a virtual environment of their own, in pinned versions.

ggml is compiled on this machine from the source package of llama-cpp-python, natively optimised; another CPU than the one it
was compiled on means compiling it again.

torch is the plain wheel without the packages of NVIDIA's that it names, which are some gigabytes and serve no call on a CPU.
Its own libraries are linked against them all the same. Three small ones are installed, because torch calls them while it is
loaded; for the others stand shells: libraries of the right name and version with nothing in them. They are enough as long as
torch is loaded with lazy binding (`pytorch.load`) and no CUDA device is used.
"""

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .machine import cpu_name, first_line
from .peer_error import PeerError

LLAMA = "llama-cpp-python==0.3.36"
# What builds it: its own build requirement, and the tools that this would fetch in any version.
BUILD = ["scikit_build_core==0.11.6", "packaging==26.3", "pathspec==1.1.1", "cmake==4.4.5", "ninja==1.13.2"]
# GGML_NATIVE is the default, but is switched off by SOURCE_DATE_EPOCH; the rest of ggml's options are the package's defaults
# (GGML_OPENMP, GGML_LLAMAFILE and GGML_CPU_REPACK on). LLAVA_BUILD is a library for pictures that is not used here.
CMAKE_ARGS = "-DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAVA_BUILD=OFF"

TORCH = "torch==2.15.0"
TORCH_NEEDS = [
    "filelock==4.2.12",
    "fsspec==2026.9.0",
    "Jinja2==3.1.6",
    "MarkupSafe==3.0.4",
    "mpmath==1.3.0",
    "networkx==3.6.1",
    "sympy==1.14.0",
    "typing_extensions==4.16.0",
]
CUDA = ["nvidia-cuda-runtime==13.2.86", "nvidia-cuda-cupti==13.2.86", "nvidia-cufile==1.17.1.22"]
# Shells by file name, with the version that torch's libraries ask for.
SHELLS = {
    "libcublas.so.13": "libcublas.so.13",
    "libcublasLt.so.13": "libcublasLt.so.13",
    "libcudnn.so.9": "libcudnn.so.9",
    "libcufft.so.12": "libcufft.so.12",
    "libcusparse.so.12": "libcusparse.so.12",
    "libcusparseLt.so.0": "libcusparseLt.so.0",
    "libnccl.so.2": "libnccl.so.2",
    "libnvrtc.so.13": "libnvrtc.so.13",
    "libnvshmem_host.so.3": "NVSHMEM",
}
# The one variable among the symbols asked for, which lazy binding does not spare.
SHELL_SOURCE = "int nvshmem_selected_device_transport;\n"


# What pip is told, beside `--no-deps`: nothing comes that is not named here.
STEPS = {
    "ggml": [
        ["--only-binary", ":all:", *BUILD],
        ["--no-binary", "llama-cpp-python", "--no-build-isolation", "--no-cache-dir", "--force-reinstall", LLAMA],
    ],
    "torch": [["--only-binary", ":all:", TORCH, *TORCH_NEEDS, *(CUDA if sys.platform == "linux" else [])]],
}


class Environment:
    """The virtual environment and what is in it."""

    def __init__(self, folder, say):
        self.folder, self.say = Path(folder).absolute(), say
        self.python = self.folder / "bin" / "python"
        self.log = self.folder / "install.log"

    def ensure(self, peer):
        """Installs `ggml` or `torch` unless it is there already."""
        wanted = {"packages": STEPS[peer], "python": platform.python_version()}
        if peer == "ggml":
            wanted.update(cmake=CMAKE_ARGS, cpu=cpu_name(), compiler=first_line(["c++", "--version"]))
        stamp = self.folder / f"{peer}.json"
        if stamp.is_file() and stamp.read_text() == json.dumps(wanted):
            return
        self.create()
        stamp.unlink(missing_ok=True)
        self.say(f"installing {peer} into {self.folder}; what pip says goes to {self.log}")
        if peer == "ggml":
            self.install_ggml()
        else:
            self.install_torch()
        stamp.write_text(json.dumps(wanted))

    def create(self):
        """The environment itself."""
        if self.python.exists():
            return
        if self.folder.exists() and any(self.folder.iterdir()):
            raise PeerError(f"{self.folder} is not empty and no virtual environment: choose another folder with --venv")
        made = subprocess.run([sys.executable, "-m", "venv", str(self.folder)], capture_output=True, text=True)
        if made.returncode != 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise PeerError(f"no virtual environment can be made ({last_line(made.stdout + made.stderr)})")

    def install_ggml(self):
        """Compiles llama-cpp-python and with it ggml."""
        if not (shutil.which("cc") and shutil.which("c++")):
            raise PeerError("ggml cannot be had: its source needs a C and a C++ compiler as `cc` and `c++`")
        self.say("compiling ggml with one job takes some minutes; CMAKE_BUILD_PARALLEL_LEVEL sets more")
        self.pip("ggml")
        if not (self.ggml_folder() / "libggml-cpu.so").is_file():
            raise PeerError(f"ggml cannot be had: {LLAMA} came without libggml-cpu.so")

    def install_torch(self):
        """Installs torch and the shells."""
        if sys.version_info < (3, 11):
            raise PeerError(f"torch cannot be had: {TORCH} needs Python 3.11, this is {platform.python_version()}")
        self.pip("torch")
        if sys.platform == "linux":
            self.build_shells()
        load = [str(self.python), "-B", "-c", "from peerbench import pytorch; pytorch.load()"]
        done = subprocess.run(load, cwd=Path(__file__).parent.parent, capture_output=True, text=True)
        if done.returncode != 0:
            raise PeerError(f"torch cannot be had: it was installed, but cannot be imported ({last_line(done.stderr)})")

    def build_shells(self):
        """Compiles an empty library for each that torch names and no CPU call uses."""
        if not shutil.which("cc"):
            raise PeerError("torch cannot be had: the shells that it is loaded with need a C compiler as `cc`")
        folder = self.site_packages() / "nvidia" / "cu13" / "lib"
        with tempfile.TemporaryDirectory() as temporary:
            source, versions = Path(temporary, "shell.c"), Path(temporary, "versions.map")
            source.write_text(SHELL_SOURCE)
            for name, version in SHELLS.items():
                versions.write_text(f"{version} {{ global: *; }};\n")
                linked = [f"-Wl,-soname,{name}", f"-Wl,--version-script,{versions}"]
                command = ["cc", "-shared", "-fPIC", *linked, "-o", str(folder / name), str(source)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode != 0:
                    raise PeerError(f"torch cannot be had: `cc` failed at the shell {name} ({last_line(done.stderr)})")

    def pip(self, peer):
        """Installs what a peer consists of."""
        environment = {**os.environ, **variables(), "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        environment.pop("SOURCE_DATE_EPOCH", None)
        nice = ["nice", "-n", "10"] if shutil.which("nice") else []
        for step in STEPS[peer]:
            with self.log.open("a") as log:
                command = [*nice, str(self.python), "-m", "pip", "install", "--verbose", "--no-deps", *step]
                done = subprocess.run(command, env=environment, stdout=log, stderr=log)
            if done.returncode != 0:
                said = self.log.read_text(errors="replace")
                why = last_line("\n".join(line for line in said.splitlines() if "error:" in line.lower()) or said)
                raise PeerError(f"{peer} cannot be had: pip failed ({why}), see {self.log}; --without {peer} goes on")

    def site_packages(self):
        """Where packages lie."""
        return next((self.folder / "lib").glob("python3*/site-packages"))

    def ggml_folder(self):
        """Where ggml's libraries lie."""
        return self.site_packages() / "llama_cpp" / "lib"


def variables():
    """What the compilation is told."""
    jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL", "1")
    return {"CMAKE_BUILD_PARALLEL_LEVEL": jobs, "CMAKE_ARGS": CMAKE_ARGS}


def recipe(peer):
    """The commands that install a peer, for readers."""
    lines = [shlex.join(["pip", "install", "--no-deps", *step]) for step in STEPS[peer]]
    if peer == "ggml":
        settings = [f"{name}={shlex.quote(value)}" for name, value in variables().items()]
        lines[-1] = " ".join([*settings, lines[-1]])
    return lines


def last_line(text):
    """The last line that says anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
