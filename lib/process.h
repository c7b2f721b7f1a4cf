/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_PROCESS_H
#define CP_PROCESS_H

/* Process: what touches all of it. */

/* Ignore SIGPIPE if it is at its default: libuv writes without MSG_NOSIGNAL. */
void cp__process_ignore_sigpipe(void);

#endif
