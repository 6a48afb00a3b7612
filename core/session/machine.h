/* SPDX-License-Identifier: Apache-2.0 */
/* Where an administrator says what holds for everybody on this machine: policy.json, backend-keys, config.json. */
#ifndef KOLM_SESSION_MACHINE_H
#define KOLM_SESSION_MACHINE_H

/* SYSCONFDIR/kolm, absolute. In a file of its own, so that tests can link a kolm with another machine. */
extern const char session_machine_dir[];

#endif
