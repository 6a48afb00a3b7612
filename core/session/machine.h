/* SPDX-License-Identifier: Apache-2.0 */
/* Directory of the machine-wide configuration: policy.json, backend-keys, config.json. */
#ifndef KOLM_SESSION_MACHINE_H
#define KOLM_SESSION_MACHINE_H

/* SYSCONFDIR/kolm, absolute. In a file of its own, so that tests can link another one. */
extern const char session_machine_dir[];

#endif
