/* SPDX-License-Identifier: Apache-2.0 */
/* The one place where the configured SYSCONFDIR gets into kolm. */
#include "session/machine.h"

const char session_machine_dir[] = SESSION_SYSCONFDIR "/kolm";
