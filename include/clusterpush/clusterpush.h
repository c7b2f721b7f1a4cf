/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CLUSTERPUSH_H
#define CLUSTERPUSH_H

/* libclusterpush: push WebSocket messages to users, on a cluster.
 *
 * CONVENTIONS
 *
 * What is said here holds for every function, unless its comment says
 * otherwise.
 *
 * Errors. A function that can fail returns 0 or a negative int: a CP_E code or
 * one of libuv's. cp_strerror() describes it, cp_err_name() names it.
 *
 * Threads. A server lives on its loop's thread and is called there only. The
 * exceptions say "Thread: any": the sends, adopt, ref and unref, and some
 * getters.
 *
 * Callbacks. They run on the loop thread. A function that takes a callback and
 * returns an error never calls it; otherwise it is called exactly once, and
 * never before the function returned. Any cp_ call is allowed in any callback
 * and hook, close included, except in a log sink.
 *
 * Ownership. Arguments are *copied* unless the comment says *borrowed until*
 * (yours, and must not change or go before then), *taken* (no longer yours) or
 * *shared* (counted). What a hook or getter hands you is borrowed.
 *
 * Handles are opaque. Functions named close and unref accept NULL.
 *
 * Options structs begin with their size: always run the init macro first, so
 * that a later version of the library knows which fields you have.
 *
 * Bytes and text. cp_bytes is pointer and length; user ids and bodies are
 * bytes. `const char *` is a NUL-terminated string.
 *
 * Units. Times are milliseconds, sizes are bytes.
 *
 * CAVEATS
 *
 * - Delivery is at most once: a client that loses its connection has to fetch
 *   what it missed. What is lost otherwise is told, by a send's result.
 * - cp_server_create() sets SIGPIPE to ignored if it was at its default.
 * - After fork() only the parent may go on using a server.
 * - OpenSSL, wslay, hiredis and libuv allocate by malloc, whatever
 *   cp_allocator says. */

#include "base.h"
#include "channels.h"
#include "clusterpush/version.h"
#include "publisher.h"
#include "redis.h"
#include "server.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library that is linked: "0.1.0". Static. Thread: any. */
CP_EXTERN const char *cp_version(void);

#ifdef __cplusplus
}
#endif

#endif
