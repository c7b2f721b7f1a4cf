/* SPDX-License-Identifier: MIT
 * Copyright (c) 2026 The libclusterpush authors */
#include "redis_greeting.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "bytes.h"

const char *cp__redis_greeting_name(cp__greeting_step step) {
  static const char *const names[CP__N_GREETING_STEPS] = {
      [CP__GREETING_AUTH] = "AUTH",
      [CP__GREETING_SELECT] = "SELECT",
      [CP__GREETING_SETNAME] = "CLIENT SETNAME",
      [CP__GREETING_INFO] = "INFO",
      [CP__GREETING_ROLE] = "ROLE",
      [CP__GREETING_LIMIT] = "CONFIG GET",
  };

  assert(step < CP__N_GREETING_STEPS);
  return names[step];
}

/* Commands. --------------------------------------------------------------- */

static bool write_auth(cp__buf *out, const cp__redis_identity *identity) {
  const cp_bytes words[] = {cp_str("AUTH"), cp_str(identity->user),
                            cp_str(identity->password)};
  const cp_bytes short_form[] = {words[0], words[2]};

  if (identity->password == NULL)
    return false;
  /* Redis before 6 has no users and refuses the long form. */
  if (identity->user == NULL || *identity->user == '\0')
    cp__resp_command(out, short_form, 2);
  else
    cp__resp_command(out, words, 3);
  return true;
}

static bool write_select(cp__buf *out, int db) {
  char text[16];
  cp_bytes words[2] = {cp_str("SELECT")};

  if (db == 0)
    return false;
  snprintf(text, sizeof text, "%d", db);
  words[1] = cp_str(text);
  cp__resp_command(out, words, 2);
  return true;
}

static bool write_setname(cp__buf *out, const char *name) {
  const cp_bytes words[] = {cp_str("CLIENT"), cp_str("SETNAME"), cp_str(name)};

  if (name == NULL)
    return false;
  cp__resp_command(out, words, 3);
  return true;
}

bool cp__redis_greeting_write(cp__buf *out, cp__greeting_step step,
                              const cp__redis_identity *identity) {
  const cp_bytes info[] = {cp_str("INFO"), cp_str("server")};
  const cp_bytes role[] = {cp_str("ROLE")};
  const cp_bytes limit[] = {cp_str("CONFIG"), cp_str("GET"),
                            cp_str("client-output-buffer-limit")};

  switch (step) {
  case CP__GREETING_AUTH:
    return write_auth(out, identity);
  case CP__GREETING_SELECT:
    return write_select(out, identity->db);
  case CP__GREETING_SETNAME:
    return write_setname(out, identity->client_name);
  case CP__GREETING_INFO:
    cp__resp_command(out, info, 2);
    return true;
  case CP__GREETING_ROLE:
    if (!identity->any_role)
      cp__resp_command(out, role, 1);
    return !identity->any_role;
  case CP__GREETING_LIMIT:
    cp__resp_command(out, limit, 3);
    return true;
  default:
    assert(!"no such step");
    return false;
  }
}

/* Answers. ---------------------------------------------------------------- */

static bool begins_with(cp_bytes text, const char *prefix) {
  size_t len = strlen(prefix);
  return text.len >= len && memcmp(text.data, prefix, len) == 0;
}

/* For "%.*s": enough for people, and never above INT_MAX. */
static int printable_len(cp_bytes text) {
  return text.len < 160 ? (int)text.len : 160;
}

/* What Redis says to a connection as a whole, instead of an answer. */
static bool is_farewell(cp_bytes error) {
  return begins_with(error, "ERR max number of clients");
}

bool cp__redis_is_refusal(cp_bytes error) {
  return begins_with(error, "NOPERM") ||
         (begins_with(error, "ERR") && !is_farewell(error));
}

static bool is_about_auth(cp__greeting_step step, cp_bytes error) {
  if (begins_with(error, "NOAUTH") || begins_with(error, "WRONGPASS"))
    return true;
  return step == CP__GREETING_AUTH && cp__redis_is_refusal(error);
}

static void judge_error(cp__greeting_verdict *verdict, cp__greeting_step step,
                        cp_bytes error) {
  bool optional = step >= CP__GREETING_SETNAME;

  if (is_about_auth(step, error))
    verdict->err = CP_E_AUTH;
  else if (optional && cp__redis_is_refusal(error))
    verdict->refused = step != CP__GREETING_LIMIT;
  else
    verdict->err = CP_E_REDIS;
  snprintf(verdict->reason, sizeof verdict->reason, "Redis refused %s: %.*s",
           cp__redis_greeting_name(step), printable_len(error),
           (const char *)error.data);
}

/* Find "name:value" among the lines of INFO; "" if it isn't there. */
static void copy_field(char *out, size_t size, cp_bytes info,
                       const char *name) {
  out[0] = '\0';
  while (info.data != NULL) {
    cp_bytes value = cp__bytes_cut(&info, '\n');
    cp_bytes key = cp__bytes_cut(&value, ':');

    if (!cp__bytes_equal(key, cp_str(name)) || value.data == NULL)
      continue;
    value.len = cp__bytes_span_not(value, "\r");
    snprintf(out, size, "%.*s", printable_len(value), (const char *)value.data);
    return;
  }
}

static void read_info(cp__redis_info *info, cp_bytes text) {
  char field[32];

  copy_field(info->run_id, sizeof info->run_id, text, "run_id");
  copy_field(info->version, sizeof info->version, text, "redis_version");
  copy_field(field, sizeof field, text, "redis_mode");
  info->is_cluster = strcmp(field, "cluster") == 0;
  copy_field(field, sizeof field, text, "uptime_in_seconds");
  info->uptime_s = cp__bytes_decimal(cp_str(field), INT64_MAX);
}

/* The text of an element that is there and is a string, or none. */
static cp_bytes string_at(const cp__resp_reply *reply, size_t i) {
  if (i >= reply->n_nodes || reply->nodes[i].type != CP__RESP_STRING)
    return cp_str("");
  return reply->nodes[i].text;
}

bool cp__redis_is_master(const cp__resp_reply *reply, char *reason,
                         size_t size) {
  cp_bytes role = string_at(reply, 1);
  cp_bytes host = string_at(reply, 2);

  if (cp__bytes_equal(role, cp_str("master")))
    return true;
  if (cp__bytes_equal(role, cp_str("slave")))
    snprintf(reason, size, "Redis is a replica of %.*s, not a master",
             printable_len(host), (const char *)host.data);
  else
    snprintf(reason, size, "Redis is no master but a '%.*s'",
             printable_len(role), (const char *)role.data);
  return false;
}

static void judge_role(cp__greeting_verdict *verdict, cp__redis_info *info,
                       const cp__resp_reply *reply) {
  info->is_master =
      cp__redis_is_master(reply, verdict->reason, sizeof verdict->reason);
  if (!info->is_master)
    verdict->err = CP_E_REDIS;
}

/* Takes a number off `words`, and lowers `*limit` to it; 0 is no limit. */
static void take_limit(int64_t *limit, cp_bytes *words) {
  int64_t bytes = cp__bytes_decimal(cp__bytes_cut(words, ' '), INT64_MAX);

  if (bytes > 0 && (*limit == 0 || bytes < *limit))
    *limit = bytes;
}

/* "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60" */
static void read_limits(cp__redis_info *info, cp_bytes words) {
  while (words.data != NULL) {
    if (!cp__bytes_equal(cp__bytes_cut(&words, ' '), cp_str("pubsub")))
      continue;
    take_limit(&info->subscriber_limit, &words);
    take_limit(&info->subscriber_limit, &words);
    return;
  }
}

static cp__resp_type expected_type(cp__greeting_step step) {
  switch (step) {
  case CP__GREETING_INFO:
    return CP__RESP_STRING;
  case CP__GREETING_ROLE:
  case CP__GREETING_LIMIT:
    return CP__RESP_ARRAY;
  default:
    return CP__RESP_STATUS;
  }
}

void cp__redis_greeting_judge(cp__greeting_verdict *verdict,
                              cp__redis_info *info, cp__greeting_step step,
                              const cp__resp_reply *reply) {
  const cp__resp_node *head = &reply->nodes[0];

  memset(verdict, 0, sizeof *verdict);
  if (head->type == CP__RESP_ERROR) {
    judge_error(verdict, step, head->text);
    return;
  }
  if (head->type != expected_type(step)) {
    verdict->err = CP_E_PROTOCOL;
    snprintf(verdict->reason, sizeof verdict->reason,
             "unexpected kind of answer to %s", cp__redis_greeting_name(step));
    return;
  }
  if (step == CP__GREETING_INFO)
    read_info(info, head->text);
  else if (step == CP__GREETING_ROLE)
    judge_role(verdict, info, reply);
  else if (step == CP__GREETING_LIMIT)
    read_limits(info, string_at(reply, 2));
}

void cp__redis_info_init(cp__redis_info *info) {
  memset(info, 0, sizeof *info);
  info->uptime_s = -1;
}
