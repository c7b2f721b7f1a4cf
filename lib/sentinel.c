/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* The happy path: a link is opened to one sentinel, and asked for the address
 * of the master, for the epoch of that and for further sentinels. When it named
 * the master, the owner is told, and a second link to the same sentinel
 * subscribes to +switch-master.
 * The first one is then asked again every interval, and as soon as
 * +switch-master speaks of our master: what that message says is not used, the
 * answer is. An answer that differs from the last one is a move.
 *
 * Both links together are a session. There is one at a time, but those that
 * ended may still be closing (a name that the system is looking up delays
 * that), so each has its own memory.
 *
 * The failure modes: no link, no answer in time, an answer that is none, a
 * master that nobody knows. Each ends the session and takes the question to the
 * next sentinel, in the order of sentinel_peers.h; when all of them were tried,
 * an owner that waits is told the last one's reason, and otherwise the interval
 * is waited for. A session that breaks after an answer is opened anew. A
 * +switch-master that can't be subscribed is done without.
 *
 * A sentinel that has not heard the news is found out by the epoch, which grows
 * with every failover: one that is lower than what was heard before moves
 * nobody to another master, and the question goes on. When nobody knows better,
 * an owner that waits gets it, and it is the mark from then on: sentinels that
 * were set up anew begin at 0. Whoever says no epoch is believed.
 *
 * A sentinel that lies is found out by the owner: what it names is no master.
 * So an answer that did not serve makes the next question begin elsewhere. */
#include "sentinel.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "bytes.h"
#include "redis_link.h"
#include "sentinel_peers.h"

#define MAX_REPLY   (1024 * 1024)
#define REASON_SIZE 512

enum { ASK_EPOCH, ASK_MASTER, ASK_SENTINELS, FOLLOW };

/* The links to one sentinel. */
typedef struct session {
  cp__sentinel *sentinel;
  cp__sentinel_address peer;
  cp__redis_link *asker;
  cp__redis_link *follower;
  int64_t epoch; /* of the answer that is coming; -1: unknown */
  bool answered;
  bool ended; /* the links are being closed */
} session;

struct cp__sentinel {
  cp__sentinel_options options;
  uv_timer_t timer; /* of an answer; else of the next question */
  bool timer_is_open;
  bool closing;

  cp__sentinel_peers peers;
  session *session;  /* NULL: none */
  size_t n_sessions; /* those that ended, but are not gone, too */
  bool asking;       /* a question is on its way */
  bool again;        /* there was news meanwhile */
  int early_err;     /* why there is no session for it */
  bool owner_waits;  /* for on_master or on_failed */
  bool praised;      /* the last answer served */
  bool silence_is_logged;
  bool old_is_logged;
  unsigned warned; /* see cp__redis_link_options */
  bool follow_is_refused;

  cp__sentinel_address master; /* the last answer */
  int64_t epoch;               /* the highest that was heard; -1: none */
  int64_t old_epoch; /* the highest below it in this round; -1: none */
  uint64_t asked_ms;
  uint64_t agreed_ms; /* asked then, it was the last answer already */
};

/* Endings. ---------------------------------------------------------------- */

static void maybe_finish_close(cp__sentinel *s) {
  const cp__sentinel_options o = s->options;

  if (!s->closing || s->timer_is_open || s->n_sessions > 0)
    return;
  cp__sentinel_peers_finish(&s->peers, o.alloc);
  cp__free(o.alloc, s);
  o.events->on_closed(o.ctx);
}

static void maybe_free_session(session *ss) {
  cp__sentinel *s = ss->sentinel;

  if (!ss->ended || ss->asker != NULL || ss->follower != NULL)
    return;
  cp__free(s->options.alloc, ss);
  s->n_sessions--;
  maybe_finish_close(s);
}

/* NULL is accepted. It may be gone when this returns. */
static void end_session(session *ss) {
  if (ss == NULL || ss->ended)
    return;
  ss->ended = true;
  ss->sentinel->session = NULL;
  if (ss->asker != NULL)
    cp__redis_link_close(ss->asker);
  if (ss->follower != NULL)
    cp__redis_link_close(ss->follower);
  maybe_free_session(ss);
}

static void on_timer_closed(uv_handle_t *handle) {
  cp__sentinel *s = handle->data;

  s->timer_is_open = false;
  maybe_finish_close(s);
}

void cp__sentinel_close(cp__sentinel *s) {
  s->closing = true;
  uv_close((uv_handle_t *)&s->timer, on_timer_closed);
  end_session(s->session);
}

/* Asking. ----------------------------------------------------------------- */

/* "HOST:PORT" for people. */
static const char *name_of(const cp__sentinel_address *a,
                           char out[CP__ENDPOINT_SIZE]) {
  const cp__endpoint endpoint = {a->name, a->port, NULL};
  return cp__endpoint_name(&endpoint, out);
}

static void try_current(cp__sentinel *s);
static void on_timer(uv_timer_t *timer);

static void wait_ms(cp__sentinel *s, uint64_t ms) {
  uv_timer_start(&s->timer, on_timer, ms, 0);
}

/* Nobody is left to ask. */
static void give_up(cp__sentinel *s, int err, const char *why) {
  char reason[REASON_SIZE + 128];

  s->asking = false;
  snprintf(reason, sizeof reason, "no sentinel names the master '%.64s': %s",
           s->options.master, why);
  if (s->owner_waits) {
    s->owner_waits = false;
    s->options.events->on_failed(s->options.ctx, err, reason);
    return;
  }
  cp__logf(s->options.log, s->silence_is_logged ? CP_LOG_DEBUG : CP_LOG_WARN,
           "%s; staying with the one that was", reason);
  s->silence_is_logged = true;
  wait_ms(s, s->options.interval_ms);
}

static void begin_round(cp__sentinel *s) {
  s->old_epoch = -1;
  cp__sentinel_peers_begin(&s->peers, s->session != NULL);
}

/* Nobody is left to ask, but there was old news: go round again for that.
 * False: it is of no use. */
static bool settle_for_old(cp__sentinel *s) {
  if (!s->owner_waits || s->old_epoch < 0)
    return false;
  cp__logf(
      s->options.log, CP_LOG_WARN,
      "no sentinel knows epoch %lld of the master '%.64s' any more; taking "
      "what is known of %lld",
      (long long)s->epoch, s->options.master, (long long)s->old_epoch);
  s->epoch = s->old_epoch;
  begin_round(s);
  try_current(s);
  return true;
}

/* The current one is of no use. `why` is copied before its owner goes. */
static void go_on(cp__sentinel *s, int err, const char *why) {
  char copy[REASON_SIZE];

  snprintf(copy, sizeof copy, "%s", why);
  cp__logf(s->options.log, CP_LOG_DEBUG, "%s", copy);
  uv_timer_stop(&s->timer);
  end_session(s->session);
  if (cp__sentinel_peers_next(&s->peers))
    try_current(s);
  else if (!settle_for_old(s))
    give_up(s, err, copy);
}

/* It did not answer. */
static void fail(cp__sentinel *s, int err, const char *why) {
  cp__sentinel_peers_failed(&s->peers);
  go_on(s, err, why);
}

/* "sentinel HOST:PORT", then `what`, then `text`. */
static const char *describe(const session *ss, const char *what, cp_bytes text,
                            char out[REASON_SIZE]) {
  char peer[CP__ENDPOINT_SIZE];

  snprintf(out, REASON_SIZE, "sentinel %s %s%.*s", name_of(&ss->peer, peer),
           what, text.len < 160 ? (int)text.len : 160, (const char *)text.data);
  return out;
}

static void fail_session(session *ss, int err, const char *what,
                         cp_bytes text) {
  char why[REASON_SIZE];

  fail(ss->sentinel, err, describe(ss, what, text, why));
}

/* What fails at once, for want of memory, is as good as a sentinel that fails,
 * but told later: nobody is called back before ask returned. */
static void fail_soon(cp__sentinel *s, int err) {
  end_session(s->session);
  s->early_err = err;
  wait_ms(s, 1); /* 0 is at once in some versions of libuv */
}

static int put_command(session *ss, int kind, const char *name) {
  const cp_bytes words[] = {cp_str("SENTINEL"), cp_str(name),
                            cp_str(ss->sentinel->options.master)};
  void *const no_token[] = {NULL};

  cp__resp_command(cp__redis_link_begin(ss->asker), words, 3);
  return cp__redis_link_end(ss->asker, kind, no_token, 1);
}

/* A sentinel answers what comes in one write without doing anything in between,
 * and counts the epoch up when it begins to name the new master. (During a
 * failover SENTINEL MASTER gives the old one's address a while longer.) */
static void send_question(session *ss) {
  cp__sentinel *s = ss->sentinel;
  int rc = put_command(ss, ASK_EPOCH, "MASTER");

  s->asked_ms = uv_now(s->options.loop);
  if (rc == 0)
    rc = put_command(ss, ASK_MASTER, "GET-MASTER-ADDR-BY-NAME");
  if (rc == 0)
    rc = put_command(ss, ASK_SENTINELS, "SENTINELS");
  if (rc != 0) {
    fail_soon(s, rc);
    return;
  }
  wait_ms(s, s->options.timeout_ms);
  cp__redis_link_flush(ss->asker);
}

/* One question, that goes round until somebody answers it. */
static void ask(cp__sentinel *s) {
  s->asking = true;
  s->again = false;
  uv_timer_stop(&s->timer);
  begin_round(s);
  if (s->session != NULL)
    send_question(s->session);
  else
    try_current(s);
}

static void on_timer(uv_timer_t *timer) {
  cp__sentinel *s = timer->data;

  if (!s->asking)
    ask(s);
  else if (s->session == NULL)
    fail(s, s->early_err, cp_strerror(s->early_err));
  else
    fail_session(s->session, CP_E_TIMEOUT, "did not answer in time",
                 cp_str(""));
}

/* Following. -------------------------------------------------------------- */

/* It runs inside the parser. */
static void on_switch_message(void *ctx, cp_bytes channel, cp_bytes payload) {
  cp__sentinel *s = ((session *)ctx)->sentinel;

  (void)channel;
  if (!cp__bytes_equal(cp__bytes_cut(&payload, ' '), cp_str(s->options.master)))
    return;
  s->again = true;
  if (!s->asking)
    wait_ms(s, 1);
}

static void on_follower_ready(void *ctx) {
  session *ss = ctx;
  const cp_bytes words[] = {cp_str("SUBSCRIBE"), cp_str("+switch-master")};
  void *const no_token[] = {NULL};

  cp__resp_command(cp__redis_link_begin(ss->follower), words, 2);
  if (cp__redis_link_end(ss->follower, FOLLOW, no_token, 1) == 0)
    cp__redis_link_flush(ss->follower);
}

static void on_follower_reply(void *ctx, int kind, void *token,
                              const cp__resp_reply *reply) {
  session *ss = ctx;
  cp__sentinel *s = ss->sentinel;
  cp_bytes text = reply->nodes[0].text;

  (void)kind;
  (void)token;
  if (reply->nodes[0].type != CP__RESP_ERROR)
    return;
  cp__logf(s->options.log, s->follow_is_refused ? CP_LOG_DEBUG : CP_LOG_WARN,
           "a sentinel refused SUBSCRIBE +switch-master: %.*s; a failover is "
           "noticed later",
           text.len < 160 ? (int)text.len : 160, (const char *)text.data);
  s->follow_is_refused = true;
}

/* A sentinel that answered before has not failed: connections end, because it
 * restarts or for no reason at all. It is asked anew, now if there is a
 * question on its way, else when the next one is due. */
static void on_session_broken(session *ss, int err, const char *reason) {
  cp__sentinel *s = ss->sentinel;

  if (!ss->answered) {
    fail_session(ss, err, "failed: ", cp_str(reason));
    return;
  }
  cp__logf(s->options.log, CP_LOG_DEBUG, "lost a sentinel: %s", reason);
  end_session(ss);
  if (!s->asking)
    return;
  uv_timer_stop(&s->timer);
  try_current(s);
}

static void on_broken(void *ctx, int err, const char *reason) {
  on_session_broken(ctx, err, reason);
}

static void on_follower_closed(void *ctx) {
  session *ss = ctx;

  ss->follower = NULL;
  maybe_free_session(ss);
}

static int open_link(session *ss, cp__redis_link **link,
                     const cp__redis_link_events *events, bool messages) {
  cp__sentinel *s = ss->sentinel;
  const cp__sentinel_options *o = &s->options;
  const cp__redis_link_options options = {
      .loop = o->loop,
      .alloc = o->alloc,
      .log = o->log,
      .endpoint = {ss->peer.name, ss->peer.port, NULL},
      .identity = o->identity,
      .connect_timeout_ms = o->timeout_ms,
      .tls = o->tls,
      .tls_host = o->tls_host != NULL ? o->tls_host : ss->peer.name,
      .max_reply = MAX_REPLY,
      .messages = messages,
      .warned = &s->warned,
      .events = events,
      .ctx = ss,
  };

  return cp__redis_link_open(link, &options);
}

/* Without memory for it, the interval must do. */
static void follow(session *ss) {
  static const cp__redis_link_events events = {
      on_follower_ready, on_follower_reply,  on_switch_message,
      on_broken,         on_follower_closed, NULL,
  };

  if (ss->follower == NULL)
    open_link(ss, &ss->follower, &events, true);
}

/* Answers. ---------------------------------------------------------------- */

static void tell_move(cp__sentinel *s, const session *ss) {
  char name[CP__ENDPOINT_SIZE], peer[CP__ENDPOINT_SIZE];
  char reason[2 * CP__ENDPOINT_SIZE + 64];

  s->praised = true; /* of the old one nothing more is expected */
  snprintf(reason, sizeof reason, "sentinel %s: the master is now %s",
           name_of(&ss->peer, peer), name_of(&s->master, name));
  s->options.events->on_moved(s->options.ctx, reason);
}

static void take_answer(session *ss, const cp__sentinel_address *master) {
  cp__sentinel *s = ss->sentinel;
  const cp__endpoint endpoint = {s->master.name, master->port, NULL};
  bool moved = !cp__sentinel_address_equal(&s->master, master);

  cp__sentinel_peers_answered(&s->peers);
  ss->answered = true;
  s->asking = false;
  s->silence_is_logged = false;
  s->old_is_logged = false;
  if (ss->epoch > s->epoch)
    s->epoch = ss->epoch;
  s->master = *master;
  if (s->owner_waits || !moved)
    s->agreed_ms = s->asked_ms;
  wait_ms(s, s->again ? 1 : s->options.interval_ms);
  follow(ss);
  if (s->owner_waits) {
    s->owner_waits = false;
    s->praised = false;
    s->options.events->on_master(s->options.ctx, &endpoint);
  } else if (moved) {
    tell_move(s, ss);
  }
}

/* Who is behind, but names the same one, does no harm: only an owner without a
 * master had better hear others first. */
static bool is_old(const session *ss, const cp__sentinel_address *master) {
  const cp__sentinel *s = ss->sentinel;

  return ss->epoch >= 0 && ss->epoch < s->epoch &&
         (s->owner_waits || !cp__sentinel_address_equal(&s->master, master));
}

/* It has not failed, so it keeps its place: if it comes to that, what it knows
 * is had at once. */
static void pass_over(session *ss) {
  cp__sentinel *s = ss->sentinel;
  char epochs[64], why[REASON_SIZE];

  if (ss->epoch > s->old_epoch)
    s->old_epoch = ss->epoch;
  snprintf(epochs, sizeof epochs, "%lld, not %lld", (long long)ss->epoch,
           (long long)s->epoch);
  describe(ss, "has old news, of epoch ", cp_str(epochs), why);
  if (!s->owner_waits && !s->old_is_logged) {
    cp__logf(s->options.log, CP_LOG_WARN, "%s; not followed", why);
    s->old_is_logged = true;
  }
  go_on(s, CP_E_REDIS, why);
}

static void judge_answer(session *ss, const cp__sentinel_address *master) {
  if (is_old(ss, master))
    pass_over(ss);
  else
    take_answer(ss, master);
}

static void on_refusal(session *ss, cp_bytes error) {
  cp_bytes unknown = cp_str("ERR unknown command");

  if (error.len >= unknown.len &&
      memcmp(error.data, unknown.data, unknown.len) == 0)
    fail_session(ss, CP_E_REDIS, "is no sentinel: ", error);
  else
    fail_session(ss, CP_E_REDIS, "refused: ", error);
}

static void on_master_reply(session *ss, const cp__resp_reply *reply) {
  const cp__resp_node *nodes = reply->nodes;
  cp__sentinel_address master;

  if (!ss->sentinel->asking)
    return;
  if (nodes[0].type == CP__RESP_ERROR)
    on_refusal(ss, nodes[0].text);
  else if (nodes[0].type == CP__RESP_NIL)
    fail_session(ss, CP_E_NOTFOUND, "knows no such master", cp_str(""));
  else if (reply->n_nodes == 3 &&
           cp__sentinel_address_read(&master, nodes[1].text, nodes[2].text))
    judge_answer(ss, &master);
  else
    fail_session(ss, CP_E_PROTOCOL, "answered what is no address", cp_str(""));
}

/* It may be refused; then the address does alone. */
static void on_epoch_reply(session *ss, const cp__resp_reply *reply) {
  cp_bytes epoch =
      cp__sentinel_field(reply->nodes + 1, reply->n_nodes - 1, "config-epoch");

  ss->epoch = cp__bytes_decimal(epoch, INT64_MAX);
}

static void on_asker_reply(void *ctx, int kind, void *token,
                           const cp__resp_reply *reply) {
  session *ss = ctx;

  (void)token;
  if (kind == ASK_EPOCH)
    on_epoch_reply(ss, reply);
  else if (kind == ASK_MASTER)
    on_master_reply(ss, reply);
  else
    cp__sentinel_peers_learn(&ss->sentinel->peers, reply);
}

static void on_asker_ready(void *ctx) {
  send_question(ctx);
}

static void on_asker_closed(void *ctx) {
  session *ss = ctx;

  ss->asker = NULL;
  maybe_free_session(ss);
}

/* Sessions. --------------------------------------------------------------- */

static int open_session(cp__sentinel *s) {
  static const cp__redis_link_events events = {
      on_asker_ready, on_asker_reply, NULL, on_broken, on_asker_closed, NULL,
  };
  session *ss = cp__calloc(s->options.alloc, sizeof *ss);
  int rc;

  if (ss == NULL)
    return CP_E_NOMEM;
  ss->sentinel = s;
  ss->peer = *cp__sentinel_peers_current(&s->peers);
  rc = open_link(ss, &ss->asker, &events, false);
  if (rc != 0) {
    cp__free(s->options.alloc, ss);
    return rc;
  }
  s->n_sessions++;
  s->session = ss;
  return 0;
}

static void try_current(cp__sentinel *s) {
  int rc = open_session(s);

  if (rc != 0)
    fail_soon(s, rc);
}

/* Interface. -------------------------------------------------------------- */

void cp__sentinel_ask(cp__sentinel *s) {
  assert(!s->owner_waits && !s->closing);
  s->owner_waits = true;
  if (s->asking)
    return;
  if (!s->praised && s->peers.n > 1) {
    end_session(s->session);
    cp__sentinel_peers_lied(&s->peers);
  }
  ask(s);
}

void cp__sentinel_praise(cp__sentinel *s) {
  s->praised = true;
}

uint64_t cp__sentinel_agreed_ms(const cp__sentinel *s) {
  return s->agreed_ms;
}

cp__sentinel *cp__sentinel_create(const cp__sentinel_options *options) {
  cp__sentinel *s = cp__calloc(options->alloc, sizeof *s);

  assert(options->n_hosts > 0);
  if (s == NULL)
    return NULL;
  if (cp__sentinel_peers_init(&s->peers, options->alloc, options->hosts,
                              options->n_hosts) != 0) {
    cp__free(options->alloc, s);
    return NULL;
  }
  s->options = *options;
  s->praised = true; /* the first one is asked first */
  s->epoch = -1;
  uv_timer_init(options->loop, &s->timer);
  s->timer.data = s;
  s->timer_is_open = true;
  return s;
}
