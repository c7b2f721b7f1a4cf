/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_URI_H
#define CP_URI_H

/* URI: the parts of RFC 3986 that a request head holds. */

#include "buf.h"

/* Only visible ASCII, none of it a '#' or one of the quotes and brackets that
 * RFC 3986 bans everywhere, and two hex digits behind every '%'? What browsers
 * send as it is ({ | } ^ ` \) passes. */
bool cp__uri_is_target(cp_bytes bytes);

/* host [":" port], as in a Host header? The host is a name, an IPv4 address or
 * an IPv6 address in brackets, and not empty. */
bool cp__uri_is_authority(cp_bytes bytes);

/* Decode the value of query parameter `name` to the end of `out` ("+" is a
 * space; the first one counts; on an error `out` is left alone). Returns 0,
 * CP_E_NOTFOUND, CP_E_INVALID (a bad percent escape) or CP_E_NOMEM. */
int cp__query_decode(cp_bytes query, cp_bytes name, cp__buf *out);

/* Is the origin ("scheme://host[:port]") on this Host? Default ports of http,
 * https, ws and wss are filled in; a Host without port matches an origin with
 * its scheme's default port. An origin of any other scheme is on none. */
bool cp__origin_is_host(cp_bytes origin, cp_bytes host);

#endif
