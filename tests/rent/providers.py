# SPDX-License-Identifier: Apache-2.0
"""Data about each provider for the tests of rented machines: its contract server, and the words and figures in which it differs from the
others."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
for room in ("contract", "remote"):
    sys.path.insert(0, os.path.join(HERE, "..", room))
from cloud import USER, Fault  # noqa: E402


class Provider:
    """What most providers have in common."""
    launch = 1  # number of the request that launches
    boot = 20  # seconds, on the test's clock
    stride = 1  # every fault at each request if 1, otherwise one fault in so many
    untold = 0  # dollars billed in addition to a reported price rise, until the machine is ended

    @staticmethod
    def ends(line):
        """Tells whether a request ends a machine."""
        return line.startswith("DELETE ")

    @staticmethod
    def settings(cloud):
        """Returns settings of the backend, besides the address of the server."""
        return {"ssh_user": USER}  # the provider reports the SSH port

    @staticmethod
    def token(secret):
        """Returns a token that contains the secret."""
        return secret


class Lambda(Provider):
    name, variable = "lambda", "KOLM_LAMBDA_TOKEN"
    records = ("instance", "key")  # what a rental records, in order
    kinds = ("gpu_1x_a10", "gpu_1x_a100_sxm4", "gpu_1x_h100_pcie", "gpu_8x_h100_sxm5")  # cheapest first
    memory = ((40 * 10**9, "gpu_1x_a100_sxm4"), (41 * 10**9, "gpu_1x_h100_pcie"))  # bytes of GPU memory, and the cheapest kind with them
    launch = 2
    price = 0.75
    risen = "price has risen from 0.7500 to 0.8500 USD"  # by ten cents
    told = (2, 3, 4)  # how many requests end a machine that takes 100 s to end
    none_left = "no machine of that type left"
    device = "1x A10 (24 GB PCIe), us-east-1: "
    detected = "available Lambda accepts the token: 6 offers now, from 0.75 USD an hour"
    check = "/api/v1/instance-types"  # the request of --refresh
    unknown = "Lambda does not recognize this key"  # the error for a wrong token
    remedy = "make a key on https://cloud.lambda.ai/api-keys"
    nothing_fits = "Lambda has no suitable machine"
    refusals = ((Fault(403), 9, "broken", "the Lambda account of this key is not active"),  # fault, code, state, words of detect
                (Fault("html"), 9, "broken", "the server at this address is not Lambda's API"))
    reached = "available the token is set; Lambda could not be"  # what detect reports otherwise

    @staticmethod
    def ends(line):
        return line.endswith("/terminate")

    @staticmethod
    def make(**world):
        from lambda_cloud import Lambda as Server
        return Server(**world)

    @staticmethod
    def settings(cloud):
        return {"ssh_user": USER, "ssh_port": cloud.port}


class RunPod(Provider):
    name, variable = "runpod", "KOLM_RUNPOD_TOKEN"
    records = ("instance",)
    kinds = ("NVIDIA RTX A5000", "NVIDIA L40S", "NVIDIA A100 80GB PCIe", "NVIDIA H100 80GB HBM3")
    memory = ((40 * 10**9, "NVIDIA L40S"), (49 * 10**9, "NVIDIA A100 80GB PCIe"))
    price = 0.27 + 50 * 0.1 / 720  # with 50 GB of disk
    risen = "price has risen from 0.2769 to 0.3700 USD"
    told = range(2, 31)  # there is no state for a pod that is ending: it runs until it is gone
    untold = 50 * 0.1 / 720 * 60 / 3600  # one minute of the disk
    none_left = "RunPod has no such GPU left there"
    device = "1x RTX A5000 (24 GB), SECURE: "
    detected = "available RunPod accepts the token: 4 offers now, from 0.28 USD an hour"
    check = "/v2/catalog/gpus?include=AVAILABILITY&product=POD&cloud=SECURE&minCudaVersion=12.8"
    unknown = "RunPod does not recognize this key"
    remedy = "make a key on https://console.runpod.io/user/settings"
    nothing_fits = "RunPod has no suitable machine"
    refusals = ((Fault(403), 7, "broken", "this RunPod key is not authorized for that"),
                (Fault(402), 9, "broken", "the balance of this RunPod account is too low"),
                (Fault("html"), 9, "broken", "the server at this address is not RunPod's API"))
    reached = "available the token is set; RunPod could not be"

    @staticmethod
    def make(**world):
        from runpod_cloud import RunPod as Server
        return Server(**world)


class Vast(Provider):
    name, variable = "vast", "KOLM_VAST_TOKEN"
    records = ("instance",)
    kinds = ("RTX 3090", "RTX A6000", "A100 PCIE", "H100 SXM")
    memory = ((40 * 10**9, "RTX A6000"), (52 * 10**9, "A100 PCIE"))
    price = 0.14 + 50 * 0.144 / 720  # with 50 GB of disk
    risen = "price has risen from 0.1500 to 0.2500 USD"
    told = range(2, 31)  # there is no state for an instance that is ending
    none_left = "Vast.ai no longer has this offer"
    device = "1x RTX 3090 (24 GB), Sweden, SE: "
    detected = "available Vast.ai accepts the token: 25.00 USD of credit"
    check = "/api/v0/users/current/"
    unknown = "Vast.ai does not recognize this key"
    remedy = "make a key on https://cloud.vast.ai/manage-keys/"
    nothing_fits = "Vast.ai has no suitable machine"
    refusals = ((Fault(403), 7, "broken", "this Vast.ai key is not authorized for that"),
                (Fault(402), 9, "broken", "the credit of this Vast.ai account is too low"),
                (Fault("html"), 9, "broken", "the server at this address is not Vast.ai's API"))
    reached = "available the token is set; Vast.ai could not be"

    @staticmethod
    def make(**world):
        from vast_cloud import Vast as Server
        return Server(**world)


class Acme(Provider):
    """The provider of examples/backends/acme."""
    name, variable = "acme", "ACME_TOKEN"
    records = ("instance",)
    kinds = ("a10.oslo", "a40.lund", "h100.oslo", "h200.lund")
    memory = ((40 * 10**9, "a40.lund"), (49 * 10**9, "h100.oslo"))
    price = 0.6
    risen = "price has risen from 0.6000 to 0.7000 USD"
    told = (2, 3, 4)
    none_left = "ACME has no such machine left"
    device = "1x A10 (24 GB), oslo: "
    detected = "available ACME accepts the token: 4 offers now, from 0.60 USD an hour"
    check = "/v1/offers"
    unknown = "ACME does not recognize this key"
    remedy = "make a key on https://acme.example/keys"
    nothing_fits = "ACME has no suitable machine"
    refusals = ((Fault(403), 7, "broken", "this ACME key is not authorized for that"),
                (Fault(402), 9, "broken", "the credit of this ACME account is used up"),
                (Fault("html"), 9, "broken", "the server at this address is not ACME's API"))
    reached = "available the token is set; ACME could not be"

    @staticmethod
    def make(**world):
        from acme_cloud import Acme as Server
        return Server(**world)


class Modal(Provider):
    name, variable = "modal", "KOLM_MODAL_TOKEN"
    records = ("instance",)
    kinds = ("T4", "L4", "A10", "L40S", "A100-40GB")
    memory = ((40 * 10**9, "L40S"), (49 * 10**9, "A100-80GB"))
    stride = 6  # a server of HTTP/2 in Python is slow
    launch = 5  # after the prices, the app, the environment, and the image, which is waited for
    price = 0.59 + 2 * 0.1419 + 16 * 0.0242
    risen = "price has risen from 1.2610 to 1.3610 USD"
    told = range(2, 21)  # there is no state for a sandbox that is ending
    untold = 0.1 * 60 / 3600
    none_left = "Modal has no such GPU left"
    device = "1x T4 (16 GB), 2 cores, 16 GiB: "
    detected = "available Modal accepts the token: workspace kolm-tests"
    check = "/modal.client.ModalClient/TokenInfoGet"
    unknown = "Modal does not recognize this token"
    remedy = "make a token on https://modal.com/settings/tokens"
    nothing_fits = "Modal has no suitable machine"
    refusals = ((Fault(403), 7, "broken", "this Modal token is not authorized for that"),
                (Fault(402), 14, "available the token is set; Modal could not be queried:", "Modal accepts no more requests at the moment"),
                (Fault("html"), 9, "broken", "the server at this address is not Modal's API"))
    reached = "available the token is set; Modal could not be"

    @staticmethod
    def ends(line):
        return line.endswith("/SandboxTerminate")

    @staticmethod
    def make(**world):
        from modal_cloud import Modal as Server
        return Server(**world)

    @staticmethod
    def settings(cloud):
        return {}

    @staticmethod
    def token(secret):
        return "ak-%s:%s" % (secret[-16:], secret)


PROVIDERS = {one.name: one for one in (Lambda, RunPod, Vast, Modal, Acme)}
