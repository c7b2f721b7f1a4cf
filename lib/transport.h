/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TRANSPORT_H
#define CP_TRANSPORT_H

/* Transport: the two that the library brings. */

#include "clusterpush/redis.h"
#include "clusterpush/transport.h"
#include "log.h"

/* One node, nobody else: linked from its start, it hands what is published
 * straight to its host, whether or not anybody subscribed. NULL: no memory. */
cp_transport *cp__transport_local_create(const cp_allocator *alloc);

/* One Redis server, or a Redis Cluster if the URL says so. `options` may be
 * NULL; only as much of it is read as its size says, and all of it is copied,
 * as is `log` and `node_channel`. `node_channel` is the channel on which this
 * node alone listens: the transport subscribes it by itself before it is
 * linked, and proves the link over it. It is empty for a host that is
 * publish_only. `instance` is the host's.
 *
 * Returns 0; CP_E_URL, CP_E_UNSUPPORTED (the URL's scheme, or this build has no
 * TLS for it); CP_E_INVALID (an option, or a file that it names); CP_E_NOMEM.
 * The cause is logged, the password never is. */
int cp__transport_redis_create(cp_transport **transport, const char *url,
                               const cp_redis_options *options,
                               cp_bytes node_channel, uint64_t instance,
                               const cp__log *log, const cp_allocator *alloc);

#endif
