# SPDX-License-Identifier: Apache-2.0
"""Lets `import runpod` succeed without the packages of its command line, which are not installed and not needed here."""
import importlib.abc
import importlib.machinery
import sys
import unittest.mock

ABSENT = ("boto3", "cpuinfo", "fastapi", "paramiko", "prettytable", "tomli", "tomlkit", "tqdm_loggable", "uvicorn")


class Absent(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if name.split(".")[0] in ABSENT else None

    def create_module(self, spec):
        return unittest.mock.MagicMock(__path__=[], __spec__=spec)

    def exec_module(self, module):
        pass


sys.meta_path.append(Absent())
