# SPDX-License-Identifier: Apache-2.0
"""What the tests of rented machines know of a provider: its contract server, and the words and figures in which it differs from the others."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
for room in ("contract", "remote"):
    sys.path.insert(0, os.path.join(HERE, "..", room))
from cloud import Fault  # noqa: E402


class Lambda:
    name, variable = "lambda", "KOLM_LAMBDA_TOKEN"
    records = ("instance", "key")  # what a rental puts on record, in order
    kinds = ("gpu_1x_a10", "gpu_1x_a100_sxm4", "gpu_1x_h100_pcie", "gpu_8x_h100_sxm5")  # the cheapest first
    memory = ((40 * 10**9, "gpu_1x_a100_sxm4"), (41 * 10**9, "gpu_1x_h100_pcie"))  # bytes of a GPU, and which is the cheapest then
    launch = 2  # number of the request that launches
    boot = 20  # seconds, on the test's clock
    price = 0.75
    risen = "price has risen from 0.7500 to 0.8500 USD"  # by ten cents
    none_left = "no machine of that type left"
    device = "1x A10 (24 GB PCIe), us-east-1: "
    detected = "available Lambda takes the token: 6 offers now, from 0.75 USD an hour"
    check = "/api/v1/instance-types"  # what --refresh asks for
    unknown = "Lambda does not know this key"  # a wrong token
    remedy = "make a key on https://cloud.lambda.ai/api-keys"
    nothing_fits = "Lambda has nothing that fits"
    refusals = ((Fault(403), 9, "broken", "the Lambda account of this key is not active"),  # fault, code, what detect says, words
                (Fault("html"), 9, "broken", "the address that was asked is not Lambda's API"))
    reached = "available the token is set; Lambda could not be"  # what detect says if not

    @staticmethod
    def make(**world):
        from lambda_cloud import Lambda as Server
        return Server(**world)

    @staticmethod
    def settings(cloud):
        return {"ssh_port": cloud.port}


PROVIDERS = {one.name: one for one in (Lambda,)}
