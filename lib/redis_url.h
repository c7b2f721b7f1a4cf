/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_REDIS_URL_H
#define CP_REDIS_URL_H

/* Redis URLs:
 *   redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]     HOST may be [v6]
 *   rediss://...                                   the same, over TLS
 *   redis://PASSWORD... is not a form: a password stands behind a colon
 *   unix://[[USER]:PASSWORD@]/PATH[?db=DB]
 * User, password and path are percent-decoded. Defaults: port 6379, db 0. A
 * user may have an empty password; ":@" is as good as nothing. */

#include "alloc.h"

#include <stdbool.h>

/* One allocation holds every string; NULL where the URL has none. */
typedef struct cp__redis_url {
  char *host; /* NULL: a Unix socket at `path` */
  char *path;
  char *user;
  char *password;
  int port;
  int db;
  bool tls;
  char *memory; /* holds the strings */
  size_t memory_len;
} cp__redis_url;

/* Parse. Returns 0, CP_E_NOMEM, CP_E_UNSUPPORTED (a scheme of the family that
 * can't be spoken: redis+sentinel, redis+cluster) or CP_E_URL. Whether this
 * build has the TLS for rediss is found out by who needs a cp__tls_context.
 * With the last two `*why` says in a few static words what is wrong, else it is
 * NULL. After an error there is nothing to finish. */
int cp__redis_url_parse(cp__redis_url *url, const char *text,
                        const cp_allocator *alloc, const char **why);
/* Overwrites the password before it frees. All zero is accepted. */
void cp__redis_url_finish(cp__redis_url *url, const cp_allocator *alloc);

#endif
