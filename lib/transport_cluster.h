/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#ifndef CP_TRANSPORT_CLUSTER_H
#define CP_TRANSPORT_CLUSTER_H

/* Cluster transport: a Redis Cluster with sharded pub/sub, as its own files see
 * it: see the essay in transport_cluster.c. Everybody else includes
 * transport.h. */

#include "list.h"
#include "map.h"
#include "slots.h"
#include "subs.h"
#include "transport_redis.h"

#define CP__MASTERS_MAX 512
#define CP__NO_MASTER   UINT16_MAX
#define CP__HOST_SIZE   256
#define CP__REFUSED_MS  100 /* before what was refused is tried again */
#define CP__PLAIN_SLOT  0   /* whose owner has the application's channels */

typedef struct cp__transport_cluster cp__transport_cluster;

typedef enum cp__cluster_state {
  CP__CLUSTER_IDLE,     /* start was not called */
  CP__CLUSTER_LINKING,  /* no master is reached */
  CP__CLUSTER_LINKED,   /* one is, at least; the host was told so */
  CP__CLUSTER_DRAINING, /* close was called: awaiting answers */
  CP__CLUSTER_CLOSING,
  CP__N_CLUSTER_STATES
} cp__cluster_state;

/* A master, from its first mention until it has no slots and nothing to answer
 * any more. */
typedef struct cp__master {
  cp__transport_cluster *cluster;
  cp__transport_redis *shard; /* NULL: not yet started, or closed */
  cp_transport_host host;     /* the shard's */
  cp__redis_shard hooks;
  char name[CP__HOST_SIZE];
  int port;
  uint16_t index; /* in cp__transport_cluster.masters */
  uint32_t n_slots;
  uint32_t n_out; /* ops that it has and did not answer */
  cp__list subs;  /* cp__op.link: what is subscribed there */
  /* Names of its probe channel: the present one and the one before, whose
   * answers may still be on their way. */
  char channels[2][CP__CHANNEL_MAX];
  unsigned channel;   /* the present one */
  uint64_t proven_ms; /* see cp_transport_host.on_proven */
  unsigned next_k;
  bool linked;
  bool failed; /* an attempt to link, since it was linked last */
  bool late;   /* a probe is */
  bool settle; /* as its on_linked said */
  bool closing;
} cp__master;

typedef enum cp__op_kind {
  CP__OP_PUBLISH,
  CP__OP_PLAIN, /* a publish to a channel of the application's */
  CP__OP_SUBSCRIBE,
  CP__OP_UNSUBSCRIBE
} cp__op_kind;

/* What the host asked for, until it is answered; a subscription until it is
 * lost or left. */
typedef struct cp__op {
  cp__list link;     /* in cp__transport_cluster.returned, .held or .lingering,
                        or, once `confirmed`, in cp__master.subs */
  cp__map_node node; /* in cp__transport_cluster.subs: of a SUBSCRIBE that was
                        not left */
  void *token;
  uint64_t number; /* in the order of the calls */
  uint64_t born_ms;
  uint64_t retry_ms;    /* not sent before, or not answered before */
  cp__master *at;       /* who has it */
  cp__master *asking;   /* who takes it behind ASKING */
  uint32_t n_redirects; /* errors that sent it elsewhere or made it wait */
  uint32_t n_unheard;   /* times that it was sent and reached nobody */
  uint16_t slot;
  uint8_t kind;
  bool confirmed;
  bool left;
  size_t channel_len;
  size_t payload_len;
  char bytes[]; /* channel, payload */
} cp__op;

/* All that is out of a lane is at one master: what belongs to another one
 * waits. */
typedef struct cp__lane {
  uint32_t n_out;
  uint32_t n_held; /* in .returned and .held */
  uint32_t pass;   /* the last one in which the lane had to wait */
  uint16_t at;     /* index of the master whose the n_out ops are */
} cp__lane;

typedef struct cp__slot {
  uint64_t published;  /* the highest cp__op.number */
  uint64_t wary_until; /* uv_now(); until then its subscribers may be on their
                          way to the owner */
  cp__lane publishes;
  cp__lane subscriptions;
  uint16_t owner; /* index, or CP__NO_MASTER */
} cp__slot;

/* The link that asks for the topology, of any node. */
typedef struct cp__scout {
  cp__redis_link *link; /* NULL: none */
  bool ready;
  bool asked; /* CLUSTER SLOTS is not answered */
  bool again; /* ask soon after it is */
  bool closing;
  uint64_t asked_ms;
  uint64_t due_ms;       /* when there is something to do */
  uint64_t rumour_until; /* uv_now(); an answer that is no news may be old */
  size_t at;             /* counts hosts that were tried */
  cp__backoff backoff;
  int logged_err;
  char host[CP__HOST_SIZE];
  cp__endpoint endpoint;
  cp__redis_identity identity;
} cp__scout;

struct cp__transport_cluster {
  cp_transport base;          /* first: the host's pointer */
  cp__transport_redis *model; /* never started: it holds the settings */
  const cp_allocator *alloc;
  const cp_transport_host *host;
  cp__cluster_state state;
  cp__master *masters[CP__MASTERS_MAX];
  size_t n_masters; /* up to which there are any */
  cp__slot slots[CP__N_SLOTS];
  uint16_t told[CP__N_SLOTS]; /* while an answer to CLUSTER SLOTS is read */
  bool has_topology;
  bool is_full; /* there was no room for a master, as logged */
  cp__scout scout;

  cp_transport *bus; /* of the application's channels; NULL: none, or gone */
  uint16_t bus_at;   /* index of the master that it follows, or
                        CP__NO_MASTER */

  cp__map subs;       /* cp__op.node, by channel */
  cp__list returned;  /* cp__op.link: came back, by number */
  cp__list held;      /* cp__op.link: never sent, newer than those */
  size_t held_bytes;  /* of `held` */
  cp__list lingering; /* cp__op.link: reached nobody, by .retry_ms */
  uint64_t n_ops;     /* ever */
  size_t n_publishes; /* not answered */
  uint32_t pass;
  bool pump_due;
  uint64_t retry_due_ms; /* 0: none */
  uint64_t grace_due_ms;

  uv_timer_t timer;
  bool timer_is_open;
  unsigned warned; /* see cp__redis_link_options */
  int err;         /* of the last link that broke */
  char reason[512];
  bool degraded; /* as the host was told, for `health` */
  char health[512];
};

/* Take over a transport that was configured and is in no use. NULL: no memory;
 * then `model` is freed. */
cp_transport *cp__transport_cluster_create(cp__transport_redis *model);

/* transport_cluster.c: */

/* Something of the masters' state has changed: draw the conclusions. */
void cp__cluster_review(cp__transport_cluster *self);
/* No master is reached, for this reason, as before. */
void cp__cluster_note_failure(cp__transport_cluster *self, int err,
                              const char *reason);
/* Set the timer to what is due next. */
void cp__cluster_arm(cp__transport_cluster *self);
/* Begin to link to it, whose channel was chosen. */
void cp__cluster_start_master(cp__master *master);
/* It has no slots any more. */
void cp__cluster_close_master(cp__master *master);
void cp__cluster_maybe_finish(cp__transport_cluster *self);
/* The owner of slots changed, or what it carries. */
void cp__cluster_changed(cp__transport_cluster *self);

/* transport_cluster_ops.c: */

int cp__cluster_publish(cp_transport *transport, cp_bytes channel,
                        const cp_bytes *parts, size_t n, void *token);
int cp__cluster_publish_plain(cp_transport *transport, cp_bytes channel,
                              const cp_bytes *parts, size_t n, void *token);
int cp__cluster_subscribe(cp_transport *transport, cp_bytes channel,
                          void *token);
int cp__cluster_unsubscribe(cp_transport *transport, cp_bytes channel,
                            void *token);
/* All that is subscribed there, is not any more. */
void cp__cluster_lose_subs(cp__master *master);
/* ... and the host doesn't want to know. */
void cp__cluster_forget_subs(cp__master *master);
/* What a shard tells about ops. */
void cp__cluster_on_confirmed(void *ctx, void *token, int status);
void cp__cluster_on_published(void *ctx, void *token, int status,
                              uint32_t subscribers);
bool cp__cluster_on_push(void *ctx, int kind, void *token,
                         const cp__resp_reply *reply);
bool cp__cluster_on_error(void *ctx, cp__redis_kind kind, void *token,
                          cp_bytes error);
cp_bytes cp__op_channel(const cp__op *op);
cp_bytes cp__op_payload(const cp__op *op);
/* The end of an op that is in no list. */
void cp__op_fail(cp__transport_cluster *self, cp__op *op, int status);
/* ... of a publish that was not sent, which the host may want back. */
void cp__op_give_back(cp__transport_cluster *self, cp__op *op);
/* When the next one of those that linger is due; 0: there is none. */
uint64_t cp__cluster_lingers_until(const cp__transport_cluster *self);
/* Answer those that were due by then. */
void cp__cluster_end_lingering(cp__transport_cluster *self, uint64_t until_ms);

static inline bool cp__op_publishes(const cp__op *op) {
  return op->kind <= CP__OP_PLAIN;
}

/* transport_cluster_channels.c: */

/* cp_transport_ops.channels. */
cp_transport *cp__cluster_channels(cp_transport *transport);
/* Another master may have them now, or none. */
void cp__cluster_channels_follow(cp__transport_cluster *self);

/* transport_cluster_counts.c: */

int cp__cluster_count(cp_transport *transport, const cp_bytes *channels,
                      size_t n, void *token);
void cp__cluster_on_counted(void *ctx, void *token, int status,
                            const uint32_t *subscribers, size_t n);

/* transport_cluster_queue.c: */

/* Send it, or let it wait. Returns 0, or why it could not even wait. After 0
 * the op may be gone. */
int cp__cluster_dispatch(cp__transport_cluster *self, cp__op *op);
/* An op was answered, however. */
void cp__cluster_come_back(cp__transport_cluster *self, cp__op *op);
/* It came back without having been run: let it wait, before all newer ones. */
void cp__cluster_hold_returned(cp__transport_cluster *self, cp__op *op);
/* It failed with `status`. Returns whether it waits all the same. */
bool cp__cluster_keep(cp__transport_cluster *self, cp__op *op, int status);
/* It reached so many. Returns whether it waits to be sent again. */
bool cp__cluster_try_again(cp__transport_cluster *self, cp__op *op,
                           uint32_t subscribers);
/* The slot's owner is a new one, or back again. */
void cp__cluster_be_wary(cp__transport_cluster *self, uint16_t slot);
/* Perhaps the master does not own it any more. */
void cp__cluster_doubt(const cp__master *master, uint16_t slot);
/* Send what waits and may go. */
void cp__cluster_pump(cp__transport_cluster *self);
/* Does something wait for this master because it was sent there by ASK? */
bool cp__cluster_is_asked_for(const cp__transport_cluster *self,
                              const cp__master *master);
/* Answer all that waits here. */
void cp__cluster_fail_held(cp__transport_cluster *self, int status);

/* transport_cluster_topology.c: */

/* Ask for the topology soon. */
void cp__cluster_want_topology(cp__transport_cluster *self);
/* An owner gave up slots: ask often for a while. Results are unsure. */
void cp__cluster_expect_news(cp__transport_cluster *self);
/* Something is due. */
void cp__cluster_scout_step(cp__transport_cluster *self);
void cp__cluster_scout_close(cp__transport_cluster *self);
/* A link to `master` failed, so perhaps others see it as we do. */
void cp__cluster_scout_move_on(cp__transport_cluster *self);
/* The master at this address, which is created if it was not known; NULL: there
 * is no room. */
cp__master *cp__cluster_master_at(cp__transport_cluster *self, cp_bytes name,
                                  int port);
/* The slot's owner is this one, as a redirect said. */
void cp__cluster_set_owner(cp__transport_cluster *self, uint16_t slot,
                           cp__master *owner);
/* See to it that the probe's channel is in a slot of the master. Returns false
 * if there is none. */
bool cp__cluster_keep_probe(cp__master *master);
cp_bytes cp__master_channel(const cp__master *master);

#endif
