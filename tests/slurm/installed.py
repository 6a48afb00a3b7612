# SPDX-License-Identifier: Apache-2.0
"""Installs kolm below a root as a package would, and builds the example against that SDK alone."""
import glob
import os
import shutil
import subprocess


def install(build, example, root):
    """Returns the paths of kolm and of the build directory of the example."""
    env = dict(os.environ, DESTDIR=root)
    env.pop("PKG_CONFIG_PATH", None)
    subprocess.run(["meson", "install", "-C", build, "--no-rebuild", "--quiet"], env=env, check=True, stdout=subprocess.DEVNULL)
    pc = glob.glob(os.path.join(root, "**", "kolm-kit-1.pc"), recursive=True)[0]
    env = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(pc), PKG_CONFIG_SYSROOT_DIR=root)
    source, built = os.path.join(root, "example-source"), os.path.join(root, "example-build")
    shutil.copytree(example, source)
    subprocess.run(["meson", "setup", built, source], env=env, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", built, "--quiet"], env=env, check=True, stdout=subprocess.DEVNULL)
    kolm = glob.glob(os.path.join(root, "**", "bin", "kolm"), recursive=True)[0]
    return kolm, built
