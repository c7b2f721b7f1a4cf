/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TRANSPORT_REDIS_H
#define CP_TRANSPORT_REDIS_H

/* Redis transport, as its own files see it: see the essay in
 * transport_redis.c. Everybody else includes transport.h. */

#include "backoff.h"
#include "channel_link.h"
#include "redis_link.h"
#include "redis_url.h"
#include "sentinel.h"
#include "slots.h"
#include "transport.h"

#include <uv.h>

#define CP__SUBSCRIBE_MAX 512  /* channels in one command */
#define CP__NUMSUB_MAX    1000 /* likewise, PUBSUB NUMSUB */
#define CP__NONCE_LEN     8    /* of a probe's body */

typedef struct cp__transport_redis cp__transport_redis;

typedef enum cp__redis_state {
  CP__REDIS_IDLE,     /* start was not called */
  CP__REDIS_LINKING,  /* links are on their way */
  CP__REDIS_LINKED,   /* the host was told so */
  CP__REDIS_BREAKING, /* both links are being closed, to begin anew */
  CP__REDIS_WAITING,  /* the pause before the next attempt */
  CP__REDIS_DRAINING, /* close was called: awaiting answers */
  CP__REDIS_CLOSING,  /* links and timer are being closed */
  CP__REDIS_CLOSED,
  CP__N_REDIS_STATES
} cp__redis_state;

/* What a command was for: the `kind` of a pending reply. */
typedef enum cp__redis_kind {
  CP__REDIS_SUBSCRIBE,
  CP__REDIS_UNSUBSCRIBE,
  CP__REDIS_NODE_CHANNEL, /* the transport's own SUBSCRIBE */
  CP__REDIS_PUBLISH,
  CP__REDIS_COUNT,
  CP__REDIS_PROBE_PUBLISH,
  CP__REDIS_PROBE_ROLE, /* ROLE, or PING where ROLE is refused */
  CP__REDIS_ASKING,     /* in front of a PUBLISH or SUBSCRIBE */
} cp__redis_kind;

/* One of the two links; `link` is NULL while there is none. */
typedef struct cp__redis_side {
  cp__transport_redis *transport;
  cp__redis_link *link;
  bool ready;
} cp__redis_side;

/* The SUBSCRIBEs or UNSUBSCRIBEs of one turn, not yet a command. */
typedef struct cp__redis_batch {
  cp__redis_kind kind;
  uint16_t slot; /* of them all, if this is a shard */
  size_t n;
  void *tokens[CP__SUBSCRIBE_MAX];
  cp__buf words; /* the channels, encoded */
} cp__redis_batch;

/* The proof that the link still carries. */
typedef struct cp__redis_probe {
  uint64_t nonce;       /* of the last probe sent */
  uint64_t sent_ms;     /* when */
  uint64_t stuck_ms;    /* since when the subscriber answers nothing that it was
                           asked; 0: it does, or was not */
  uint64_t answered;    /* by it, until then */
  bool awaits_echo;     /* it was not yet heard on the node channel */
  bool awaits_role;     /* nor was ROLE answered */
  bool late;            /* the host knows that something is missing */
  bool last_call;       /* overdue: what was already received is read first */
  bool role_is_refused; /* by this server: PING must do */
} cp__redis_probe;

/* What makes this transport the way to one master of a Redis Cluster: it uses
 * the sharded commands, and its owner is asked about what only a cluster
 * answers. Tokens are never NULL then. */
typedef struct cp__redis_shard {
  void *ctx;
  /* As cp__redis_link_events.on_push, on the subscriber. */
  bool (*on_push)(void *ctx, int kind, void *token,
                  const cp__resp_reply *reply);
  /* An error answered this command. True: the owner goes on from here. It may
   * call cp__redis_move_node_channel(). */
  bool (*on_error)(void *ctx, cp__redis_kind kind, void *token, cp_bytes error);
  unsigned *warned; /* see cp__redis_link_options: one for all masters */
} cp__redis_shard;

struct cp__transport_redis {
  cp_transport base;            /* first: the host's pointer */
  const cp__redis_shard *shard; /* NULL: it is not in a cluster */
  const cp_allocator *alloc;
  const cp_transport_host *host;
  cp__log log;
  cp__redis_state state;
  uint64_t instance;
  cp__redis_url url;
  cp_redis_options options; /* every field set; strings in `memory` */
  char *memory;
  size_t memory_len;
  cp_bytes node_channel; /* in `memory` */
  cp__redis_identity identity;
  cp__endpoint endpoint;
  cp__tls_context *tls; /* NULL: plain links */
  const char *tls_host; /* in `memory` or `url`; NULL: that of the endpoint */

  cp__sentinel *sentinel; /* NULL: the URL's server, or closed */
  cp__redis_identity sentinel_identity;
  cp_transport *bus; /* of the application's channels; NULL: none, or gone */
  char master[256];  /* host of the endpoint, if a sentinel named it */

  cp__redis_side subscriber;
  cp__redis_side commands;
  cp__redis_batch batch;
  cp__redis_probe probe;
  /* One timer: how long LINKING may last once both links are ready, the probe
   * of LINKED, the pause of WAITING, the grace of DRAINING. */
  uv_timer_t timer;
  bool timer_is_open;
  uint64_t linked_ms;          /* when the last link stood */
  cp__backoff backoff;         /* since a link last held */
  unsigned warned;             /* see cp__redis_link_options */
  int logged_err;              /* why the last attempt failed, as logged */
  bool publish_error_logged;   /* on this link, at a level that people see */
  bool subscribe_error_logged; /* likewise */
  bool count_error_logged;     /* likewise */
};

/* transport_redis.c, for transport_redis_probe.c: */

/* Tear both links down, answer what waits, tell the host, and begin anew (or
 * end, if close was called). */
void cp__transport_redis_break(cp__transport_redis *self, int err,
                               const char *reason);

/* transport_redis.c, for transport_cluster*.c: */

/* The way to the master at `endpoint`, with the settings of `model`, which must
 * live longer, as must all else that is handed over. A NUL stands behind
 * `node_channel`, whose data is the token of the command that subscribes it.
 * Returns 0 or CP_E_NOMEM. */
int cp__transport_redis_create_shard(cp__transport_redis **shard,
                                     const cp__transport_redis *model,
                                     cp__endpoint endpoint,
                                     cp_bytes node_channel,
                                     const cp__redis_shard *hooks);
bool cp__redis_shard_is_linked(const cp__transport_redis *self);
/* The node channel is another one from now on. */
void cp__redis_move_node_channel(cp__transport_redis *self, cp_bytes channel);

/* transport_redis_commands.c: */

/* Send ASKING in front of the next publish, or of a subscribe of its own. */
int cp__redis_ask(cp__transport_redis *self, cp__redis_kind kind);
/* cp_transport_ops.subscribe and .unsubscribe, by their kind. */
int cp__redis_request(cp__transport_redis *self, cp__redis_kind kind,
                      cp_bytes channel, void *token);
/* cp_transport_ops.publish. */
int cp__redis_publish(cp__transport_redis *self, cp_bytes channel,
                      const cp_bytes *parts, size_t n, void *token);
/* ... that a shard, too, does by PUBLISH. */
int cp__redis_publish_plain(cp__transport_redis *self, cp_bytes channel,
                            const cp_bytes *parts, size_t n, void *token);
/* cp_transport_ops.count. */
int cp__redis_count(cp__transport_redis *self, const cp_bytes *channels,
                    size_t n, void *token);
/* Make one command of the batch. */
void cp__redis_seal_batch(cp__transport_redis *self);
/* A reply to one of these. */
void cp__redis_on_command_reply(cp__transport_redis *self, cp__redis_kind kind,
                                void *token, const cp__resp_reply *reply);
/* Does this confirm a subscribe (or, by `kind`, an unsubscribe)? */
bool cp__redis_is_confirmation(const cp__transport_redis *self,
                               cp__redis_kind kind,
                               const cp__resp_reply *reply);
/* "SUBSCRIBE", or, for a shard, "SSUBSCRIBE". Static. */
cp_bytes cp__redis_name_of(const cp__transport_redis *self,
                           cp__redis_kind kind);
/* Does the owner of this shard take care of the error? */
bool cp__redis_shard_took(cp__transport_redis *self, cp__redis_kind kind,
                          void *token, cp_bytes error);

/* How pending tokens end. */
typedef struct cp__redis_ending {
  int subscription;
  int unwritten;  /* a publish that never left */
  int written;    /* a publish that Redis may have run */
  bool give_back; /* publishes, to a host that takes them */
} cp__redis_ending;

/* Answer every pending token, oldest first. */
void cp__redis_end_pending(cp__transport_redis *self,
                           const cp__redis_ending *how);

/* transport_redis_probe.c: */

/* The transport is linked: prove it now and from time to time. */
void cp__redis_probe_start(cp__transport_redis *self);
/* The node channel is being subscribed anew: what the last probe said on the
 * old one will not be heard; the confirmation proves as much. */
void cp__redis_probe_moved(cp__transport_redis *self);
void cp__redis_probe_confirmed(cp__transport_redis *self);
/* A reply of kind CP__REDIS_PROBE_*. */
void cp__redis_probe_on_reply(cp__transport_redis *self, cp__redis_kind kind,
                              const cp__resp_reply *reply);
/* A payload came on the node channel. True: it was a probe, the host must not
 * see it. It breaks nothing. */
bool cp__redis_probe_on_message(cp__transport_redis *self, cp_bytes payload);

/* transport_redis_options.c: */

/* Take over URL, options and node channel, defaults filled in. Returns as
 * cp__transport_redis_create(); `*why` tells, in static words or in `text`,
 * what is wrong with them, if that is it. After an error too unconfigure is
 * due. */
int cp__transport_redis_configure(cp__transport_redis *self, const char *url,
                                  const cp_redis_options *options,
                                  cp_bytes node_channel,
                                  char text[CP__TLS_TEXT_SIZE],
                                  const char **why);
void cp__transport_redis_unconfigure(cp__transport_redis *self);

/* transport_redis_sentinel.c: */

/* Get ready to ask. Returns 0 or CP_E_NOMEM. */
int cp__redis_sentinel_start(cp__transport_redis *self);

/* transport_redis_channels.c: */

/* A channel link with the URL and options of `model`, which outlives it; for
 * the rest see cp__channel_link_options. NULL: no memory. */
cp_transport *cp__redis_channel_link(const cp__transport_redis *model,
                                     unsigned *warned,
                                     void (*when_gone)(void *owner),
                                     void *owner);
/* cp_transport_ops.channels. */
cp_transport *cp__redis_channels(cp_transport *transport);
/* The server behind the links, NULL while there is none. */
void cp__redis_channels_follow(cp__transport_redis *self,
                               const cp__endpoint *endpoint);

/* transport_redis.c, for the files around it: */

/* Open the links to the endpoint. */
void cp__transport_redis_open(cp__transport_redis *self);
/* A handle is gone. */
void cp__transport_redis_maybe_finish(cp__transport_redis *self);

#endif
