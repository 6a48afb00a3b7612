/* SPDX-License-Identifier: Apache-2.0 */
/* The only use of the configured SYSCONFDIR. */
#include "session/machine.h"

const char session_machine_dir[] = SESSION_SYSCONFDIR "/kolm";
