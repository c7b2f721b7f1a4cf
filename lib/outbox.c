/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */

/* Three lists keep the order in which things must go out: what a broken link
 * gives back was sent before all that waits, so it is collected in `returned`
 * and put in front of `again` when its link has given back everything; `fresh`
 * is what was never published.
 *
 * What does not fit is not taken: nothing that was accepted makes room for
 * something newer, so what goes out has no holes but the one at its end. */

#include "outbox.h"

#include <assert.h>

void cp__outbox_init(cp__outbox *outbox, uv_loop_t *loop,
                     const cp_allocator *alloc, size_t max_bytes,
                     unsigned max_age_ms, const cp__outbox_host *host,
                     void *ctx) {
  memset(outbox, 0, sizeof *outbox);
  outbox->alloc = alloc;
  outbox->loop = loop;
  outbox->host = host;
  outbox->ctx = ctx;
  outbox->max_bytes = max_age_ms > 0 ? max_bytes : 0;
  outbox->max_age_ms = max_age_ms;
  cp__list_init(&outbox->returned);
  cp__list_init(&outbox->again);
  cp__list_init(&outbox->fresh);
  uv_timer_init(loop, &outbox->timer);
}

static cp__waiting *waiting_of(cp__list *link) {
  return cp__container_of(link, cp__waiting, link);
}

static size_t size_of(const cp__waiting *waiting) {
  return sizeof *waiting + waiting->channel.len + waiting->target.user.len +
         waiting->body.len;
}

/* The end of a wait only has to begin a turn. */
static void on_timer(uv_timer_t *timer) {
  (void)timer;
}

static cp_bytes copy(char **at, cp_bytes bytes) {
  cp_bytes kept = cp_bytes_of(*at, bytes.len);

  if (bytes.len > 0)
    memcpy(*at, bytes.data, bytes.len);
  *at += bytes.len;
  return kept;
}

/* Returns 0 and one that is in no list, with `name` and `body` copied behind
 * it; or an error of cp__outbox_put. */
static int create(cp__outbox *outbox, cp__waiting **out, cp_bytes name,
                  cp_bytes body) {
  size_t size = sizeof(cp__waiting) + name.len + body.len;
  cp__waiting *waiting;

  if (outbox->max_bytes == 0)
    return CP_E_DOWN;
  if (outbox->n_bytes + size > outbox->max_bytes)
    return CP_E_FULL;
  waiting = cp__malloc(outbox->alloc, size);
  if (waiting == NULL)
    return CP_E_NOMEM;
  memset(waiting, 0, sizeof *waiting);
  cp__list_init(&waiting->link);
  waiting->since = uv_now(outbox->loop);
  *out = waiting;
  return 0;
}

/* Be called after `ms`, or earlier. */
static void arm(cp__outbox *outbox, uint64_t ms) {
  uv_timer_t *timer = &outbox->timer;

  if (!uv_is_active((uv_handle_t *)timer) || uv_timer_get_due_in(timer) > ms)
    uv_timer_start(timer, on_timer, ms, 0);
}

static void insert(cp__outbox *outbox, cp__list *list, cp__waiting *waiting) {
  cp__list_push_back(list, &waiting->link);
  outbox->n_bytes += size_of(waiting);
  outbox->n_items++;
  arm(outbox, outbox->max_age_ms);
}

int cp__outbox_put(cp__outbox *outbox, const cp__target *target, cp_type type,
                   cp_bytes body, struct cp__send *send) {
  cp__waiting *waiting;
  char *at;
  int rc = create(outbox, &waiting, target->user, body);

  if (rc != 0)
    return rc;
  at = waiting->bytes;
  waiting->send = send;
  waiting->target = *target;
  waiting->target.user = copy(&at, target->user);
  waiting->type = type;
  waiting->body = copy(&at, body);
  insert(outbox, &outbox->fresh, waiting);
  return 0;
}

int cp__outbox_put_back(cp__outbox *outbox, cp_bytes channel, cp_bytes payload,
                        bool written, struct cp__send *send) {
  cp__list *older = cp__list_first(&outbox->again);
  cp__waiting *waiting;
  char *at;
  int rc = create(outbox, &waiting, channel, payload);

  if (rc != 0)
    return rc;
  at = waiting->bytes;
  waiting->send = send;
  waiting->again = true;
  waiting->written = written;
  if (older != NULL) /* so each list is in the order of its ages */
    waiting->since = waiting_of(older)->since;
  waiting->channel = copy(&at, channel);
  waiting->body = copy(&at, payload);
  insert(outbox, &outbox->returned, waiting);
  return 0;
}

static void destroy(cp__outbox *outbox, cp__waiting *waiting) {
  cp__list_remove(&waiting->link);
  outbox->n_bytes -= size_of(waiting);
  outbox->n_items--;
  cp__free(outbox->alloc, waiting);
}

static void give_up(cp__outbox *outbox, cp__waiting *waiting, int err) {
  outbox->host->give_up(outbox->ctx, waiting, err);
  destroy(outbox, waiting);
}

static void take_returned(cp__outbox *outbox) {
  cp__list_splice(&outbox->returned, &outbox->again);
  cp__list_splice(&outbox->again, &outbox->returned);
}

static cp__waiting *first(cp__outbox *outbox) {
  cp__list *link = cp__list_first(&outbox->again);

  if (link == NULL)
    link = cp__list_first(&outbox->fresh);
  return link != NULL ? waiting_of(link) : NULL;
}

/* Ages. ------------------------------------------------------------------- */

static uint64_t age_of(const cp__outbox *outbox, cp__list *link) {
  return uv_now(outbox->loop) - waiting_of(link)->since;
}

/* Returns the ms until the first of the rest is too old. */
static uint64_t expire(cp__outbox *outbox, cp__list *list) {
  cp__list *link;

  while ((link = cp__list_first(list)) != NULL) {
    uint64_t age = age_of(outbox, link);
    if (age < outbox->max_age_ms)
      return outbox->max_age_ms - age;
    give_up(outbox, waiting_of(link), CP_E_TIMEOUT);
  }
  return UINT64_MAX;
}

static void expire_all(cp__outbox *outbox) {
  uint64_t again = expire(outbox, &outbox->again);
  uint64_t fresh = expire(outbox, &outbox->fresh);
  uint64_t next = again < fresh ? again : fresh;

  if (next != UINT64_MAX)
    arm(outbox, next);
}

/* Holding back. ----------------------------------------------------------- */

void cp__outbox_hold(cp__outbox *outbox, unsigned ms) {
  if (outbox->max_bytes > 0 && ms > 0)
    outbox->held_until = uv_now(outbox->loop) + ms;
}

void cp__outbox_release(cp__outbox *outbox) {
  outbox->held_until = 0;
}

static bool is_held(cp__outbox *outbox) {
  uint64_t now = uv_now(outbox->loop);

  if (now >= outbox->held_until)
    outbox->held_until = 0;
  else
    arm(outbox, outbox->held_until - now);
  return outbox->held_until != 0;
}

/* Turn. ------------------------------------------------------------------- */

/* Answers, or a new link, will make room. */
static bool is_passing(int err) {
  return err == CP_E_FULL || err == CP_E_DOWN || err == CP_E_NOMEM;
}

static bool drain(cp__outbox *outbox, int budget) {
  cp__waiting *waiting;

  while ((waiting = first(outbox)) != NULL) {
    int rc;

    if (budget-- == 0)
      return true;
    rc = outbox->host->publish(outbox->ctx, waiting);
    if (rc == 0)
      destroy(outbox, waiting);
    else if (is_passing(rc))
      return false;
    else
      give_up(outbox, waiting, rc);
  }
  return false;
}

bool cp__outbox_turn(cp__outbox *outbox, bool can_publish, int budget) {
  bool more = false;

  if (cp__outbox_is_clear(outbox))
    return false;
  take_returned(outbox);
  expire_all(outbox);
  if (!is_held(outbox) && can_publish)
    more = drain(outbox, budget);
  if (cp__outbox_is_clear(outbox))
    uv_timer_stop(&outbox->timer);
  return more;
}

/* Life. ------------------------------------------------------------------- */

void cp__outbox_cancel(cp__outbox *outbox) {
  cp__waiting *waiting;

  take_returned(outbox);
  while ((waiting = first(outbox)) != NULL)
    give_up(outbox, waiting, CP_E_CANCELED);
  outbox->max_bytes = 0;
}

void cp__outbox_close(cp__outbox *outbox, uv_close_cb on_closed, void *data) {
  assert(cp__outbox_is_empty(outbox));
  outbox->timer.data = data;
  uv_close((uv_handle_t *)&outbox->timer, on_closed);
}
